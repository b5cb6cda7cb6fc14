<?php
// What the story does without the server: encryption as the web client does it, and the check of a proof. It needs none of the
// generated code.

declare(strict_types=1);

// --- Encryption: ECDH on P-384, AES-256-GCM; the vector is a UUID as text ------------------------------------------

function newUuid(): string
{
    $bytes = random_bytes(16);
    $bytes[6] = chr(ord($bytes[6]) & 0x0F | 0x40);
    $bytes[8] = chr(ord($bytes[8]) & 0x3F | 0x80);
    return vsprintf('%s%s-%s-%s-%s-%s%s%s', str_split(bin2hex($bytes), 4));
}

function toText(string $bytes): string
{
    return rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
}

function fromText(string $text): string
{
    return base64_decode(strtr($text, '-_', '+/'));
}

function newPair(): OpenSSLAsymmetricKey
{
    return openssl_pkey_new(['private_key_type' => OPENSSL_KEYTYPE_EC, 'curve_name' => 'secp384r1']);
}

/** A coordinate or a private number, 48 bytes, in base64url. */
function number(OpenSSLAsymmetricKey $pair, string $name): string
{
    return toText(str_pad(openssl_pkey_get_details($pair)['ec'][$name], 48, "\0", STR_PAD_LEFT));
}

function publicJwk(OpenSSLAsymmetricKey $pair): array
{
    return [
        'crv' => 'P-384', 'ext' => true, 'key_ops' => [], 'kty' => 'EC',
        'x' => number($pair, 'x'), 'y' => number($pair, 'y'),
    ];
}

/** The private half as text, as it is wrapped for the members of a group. */
function privateJwk(OpenSSLAsymmetricKey $pair): string
{
    return json_encode(['key_ops' => ['deriveKey'], 'd' => number($pair, 'd')] + publicJwk($pair));
}

function pem(string $kind, string $der): string
{
    return "-----BEGIN $kind-----\n" . chunk_split(base64_encode($der), 64) . "-----END $kind-----\n";
}

/** A public key from its coordinates (SubjectPublicKeyInfo, RFC 5480). */
function publicKey(string $x, string $y): OpenSSLAsymmetricKey
{
    $head = hex2bin('3076301006072a8648ce3d020106052b8104002203620004');
    return openssl_pkey_get_public(pem('PUBLIC KEY', $head . fromText($x) . fromText($y)));
}

/** A key pair from a private JWK (ECPrivateKey, RFC 5915). */
function pairFrom(string $text): OpenSSLAsymmetricKey
{
    $jwk = json_decode($text);
    $der = hex2bin('3081a40201010430') . fromText($jwk->d) . hex2bin('a00706052b81040022a16403620004')
        . fromText($jwk->x) . fromText($jwk->y);
    return openssl_pkey_get_private(pem('EC PRIVATE KEY', $der));
}

/** The key that both ends derive from one's secret and the other's public key. */
function between(OpenSSLAsymmetricKey $mine, OpenSSLAsymmetricKey $theirs): string
{
    return substr(openssl_pkey_derive($theirs, $mine), 0, 32);
}

/** A text for the owner of a public key, and the vector. */
function encrypt(OpenSSLAsymmetricKey $mine, OpenSSLAsymmetricKey $theirs, string $text): array
{
    $iv = newUuid();
    $sealed = openssl_encrypt($text, 'aes-256-gcm', between($mine, $theirs), OPENSSL_RAW_DATA, $iv, $tag);
    return [base64_encode($sealed . $tag), $iv];
}

function decrypt(OpenSSLAsymmetricKey $mine, OpenSSLAsymmetricKey $theirs, string $text, string $iv): string
{
    [$sealed, $tag] = [substr(base64_decode($text), 0, -16), substr(base64_decode($text), -16)];
    $opened = openssl_decrypt($sealed, 'aes-256-gcm', between($mine, $theirs), OPENSSL_RAW_DATA, $iv, $tag);
    return $opened !== false ? $opened : throw new Exception('another key');
}

// --- Proofs --------------------------------------------------------------------------------------------------------

/** Follows a proof from an event's bytes to the root that the checkpoint signs (C2SP tlog-proof, RFC 6962). */
function checkProof(string $canonical, string $proof): void
{
    [$head, $checkpoint] = explode("\n\n", $proof);
    [$format, $index] = $hashes = explode("\n", $head);
    [, $size, $root] = explode("\n", $checkpoint);
    expect($format === 'c2sp.org/tlog-proof@v1', $format);
    [$at, $last] = [(int) substr($index, strlen('index ')), (int) $size - 1];
    $sha256 = fn (string ...$parts) => hash('sha256', implode($parts), true);
    $hash = $sha256("\0", $sha256($canonical));
    foreach (array_map(base64_decode(...), array_slice($hashes, 2)) as $sibling) {
        expect($last > 0, 'the proof is not too long');
        if ($at % 2 === 1 || $at === $last) {
            $hash = $sha256("\1", $sibling, $hash);
            for (; $at % 2 === 0 && $at > 0; $at >>= 1) {
                $last >>= 1;
            }
        } else {
            $hash = $sha256("\1", $hash, $sibling);
        }
        [$at, $last] = [$at >> 1, $last >> 1];
    }
    expect($last === 0, 'the proof is not too short');
    expect(base64_encode($hash) === $root, 'the root that is signed');
}
