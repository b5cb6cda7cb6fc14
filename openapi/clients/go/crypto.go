package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// --- Encryption: ECDH on P-384, AES-256-GCM; the vector is a UUID as text -------------------------------------------

// jwk is a key as the web client writes it.
type jwk struct {
	Crv    string   `json:"crv"`
	Ext    bool     `json:"ext"`
	KeyOps []string `json:"key_ops"`
	Kty    string   `json:"kty"`
	X      string   `json:"x"`
	Y      string   `json:"y"`
	D      string   `json:"d,omitempty"`
}

var base64url = base64.RawURLEncoding

// newUUID is a random UUID.
func newUUID() string {
	u := make([]byte, 16)
	rand.Read(u)
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

func newPair() *ecdh.PrivateKey {
	return must(ecdh.P384().GenerateKey(rand.Reader))
}

func publicJWK(pair *ecdh.PrivateKey) jwk {
	// 4, and both coordinates.
	point := pair.PublicKey().Bytes()
	return jwk{Crv: "P-384", Ext: true, KeyOps: []string{}, Kty: "EC",
		X: base64url.EncodeToString(point[1:49]), Y: base64url.EncodeToString(point[49:])}
}

// privateJWK is the private half as text, as it is wrapped for the members of a group.
func privateJWK(pair *ecdh.PrivateKey) string {
	key := publicJWK(pair)
	key.KeyOps, key.D = []string{"deriveKey"}, base64url.EncodeToString(pair.Bytes())
	return string(must(json.Marshal(key)))
}

func pairFrom(text string) *ecdh.PrivateKey {
	var key jwk
	check(json.Unmarshal([]byte(text), &key))
	return must(ecdh.P384().NewPrivateKey(must(base64url.DecodeString(key.D))))
}

func publicKey(x, y string) *ecdh.PublicKey {
	point := append([]byte{4}, must(base64url.DecodeString(x))...)
	return must(ecdh.P384().NewPublicKey(append(point, must(base64url.DecodeString(y))...)))
}

// between is the cipher that both ends derive from one's secret and the other's public key.
func between(mine *ecdh.PrivateKey, theirs *ecdh.PublicKey) cipher.AEAD {
	block := must(aes.NewCipher(must(mine.ECDH(theirs))[:32]))
	return must(cipher.NewGCMWithNonceSize(block, 36))
}

func encrypt(mine *ecdh.PrivateKey, theirs *ecdh.PublicKey, text string) (sealed, iv string) {
	iv = newUUID()
	return base64.StdEncoding.EncodeToString(between(mine, theirs).Seal(nil, []byte(iv), []byte(text), nil)), iv
}

func decrypt(mine *ecdh.PrivateKey, theirs *ecdh.PublicKey, text, iv string) string {
	sealed := must(base64.StdEncoding.DecodeString(text))
	return string(must(between(mine, theirs).Open(nil, []byte(iv), sealed, nil)))
}

// --- Proofs ---------------------------------------------------------------------------------------------------------

// checkProof follows a proof from an event's bytes to the root that the checkpoint signs (C2SP tlog-proof, RFC 6962).
func checkProof(canonical []byte, proof string) {
	head, checkpoint, _ := strings.Cut(proof, "\n\n")
	lines, signed := strings.Split(head, "\n"), strings.Split(checkpoint, "\n")
	expect(lines[0] == "c2sp.org/tlog-proof@v1", "the format of the proof")
	at := must(strconv.ParseUint(strings.TrimPrefix(lines[1], "index "), 10, 64))
	last := must(strconv.ParseUint(signed[1], 10, 64)) - 1
	event := sha256.Sum256(canonical)
	hash := sha256.Sum256(append([]byte{0}, event[:]...))
	for _, line := range lines[2:] {
		sibling := must(base64.StdEncoding.DecodeString(line))
		expect(last > 0, "the proof is not too long")
		if at&1 == 1 || at == last {
			hash = sha256.Sum256(bytes.Join([][]byte{{1}, sibling, hash[:]}, nil))
			for ; at&1 == 0 && at > 0; at >>= 1 {
				last >>= 1
			}
		} else {
			hash = sha256.Sum256(bytes.Join([][]byte{{1}, hash[:], sibling}, nil))
		}
		at, last = at>>1, last>>1
	}
	expect(last == 0, "the proof is not too short")
	expect(base64.StdEncoding.EncodeToString(hash[:]) == signed[2], "the root that is signed")
}
