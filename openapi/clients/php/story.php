<?php
// One story of two people with the PHP client that openapi-generator makes: accounts, an encrypted conversation, a live
// change, a group whose key changes, its history and the proof of it. The server is where BE8_URL says.

declare(strict_types=1);

use GuzzleHttp\Client;
use OpenAPI\Client\Api;
use OpenAPI\Client\Configuration;
use OpenAPI\Client\Model;

// Where Debian has it; Composer would load both.
require '/usr/share/php/GuzzleHttp/autoload.php';
spl_autoload_register(function (string $class) {
    $file = str_replace(['OpenAPI\\Client\\', '\\'], [__DIR__ . '/generated/lib/', '/'], $class) . '.php';
    if (is_file($file)) {
        require $file;
    }
});
require 'crypto.php';
require 'changes.php';

// --- Answers -------------------------------------------------------------------------------------------------------

function expect(bool $holds, string $what): void
{
    $holds || throw new Exception("not so: $what");
}

/**
 * What was accepted. An answer with a status from 400 comes as a value, too, and one that can refuse with status 200 has the
 * members of all its parts.
 */
function yes(Model\ModelInterface $answer): Model\ModelInterface
{
    $code = refusal($answer);
    return $code === null ? $answer : throw new Exception($code);
}

/** The code of a refusal, of either kind. */
function refusal(Model\ModelInterface $answer): ?string
{
    if ($answer instanceof Model\ErrorBody || $answer instanceof Model\Problem) {
        return $answer->getError();
    }
    return $answer->getValid() ? null : ($answer['reason'] ?? $answer['warning']);
}

// --- A person ------------------------------------------------------------------------------------------------------

/** Somebody with an account. The HTTP client underneath keeps the session cookie. */
final class Person
{
    public readonly Client $http;
    public readonly string $id;
    public readonly Api\AuditApi $audit;
    public readonly Api\ConversationsApi $conversations;
    public readonly Api\GroupsApi $groups;
    private readonly Api\GroupKeysApi $keysOfGroups;
    private readonly Api\KeysApi $keys;
    private readonly Api\MessagesApi $messages;
    public readonly OpenSSLAsymmetricKey $pair;
    /** The keys of groups by `<groupID>:<version>`. */
    private array $groupKeys = [];

    /** An account and its public key. */
    public function __construct(string $nickname)
    {
        // An answer with a status from 400 is read by the generated code.
        $this->http = new Client(['cookies' => true, 'http_errors' => false]);
        $configuration = (new Configuration())->setHost(getenv('BE8_URL'));
        [$this->audit, $this->conversations, $this->groups, $this->keysOfGroups, $this->keys, $this->messages] = array_map(
            fn (string $api) => new $api($this->http, $configuration),
            [Api\AuditApi::class, Api\ConversationsApi::class, Api\GroupsApi::class, Api\GroupKeysApi::class,
                Api\KeysApi::class, Api\MessagesApi::class],
        );
        $account = new Model\AccountInput(['nickname' => $nickname, 'password' => newUuid()]);
        $made = yes((new Api\AccountsApi($this->http, $configuration))->createAccount($account));
        $this->id = (string) $made->getAccId();
        $this->pair = newPair();
        yes($this->keys->setKey(new Model\KeyInput(['public_key' => new Model\PublicKeyInput(publicJwk($this->pair))])));
    }

    public function publicKeyOf(string $account): OpenSSLAsymmetricKey
    {
        $key = yes($this->keys->getKey(new Model\KeyOwnerInput(['acc_id' => $account])))->getPublicKey();
        return publicKey($key->getX(), $key->getY());
    }

    /** Writes to a thread; a repetition under the same key would not be a second message. */
    public function write(string $thread, string $receiver, array $sealed, ?string $version = null): void
    {
        $letter = new Model\MessageInput([
            'thread_id' => $thread, 'receiver' => $receiver, 'sender' => $this->id, 'message_type' => Model\SentType::TEXT,
            'text' => $sealed[0], 'iv' => $sealed[1], 'group_version_key' => $version,
        ]);
        yes($this->messages->writeMessage($letter, newUuid()));
    }

    public function read(string $thread): array
    {
        return yes($this->messages->listMessages(new Model\MessagesInput(['thread_id' => $thread])))->getMessages();
    }

    /** Takes a new version of the group's key and hands it, wrapped, to each member. */
    public function rekey(string $group): int
    {
        $which = new Model\GroupInput(['group_id' => $group]);
        $version = (int) yes($this->keysOfGroups->increaseGroupVersion($which))->getGroupVersion();
        $accounts = array_map(fn ($member) => $member->getId(), yes($this->groups->listGroupMembers($which))->getMembers());
        $secret = privateJwk(newPair());
        $found = yes($this->keys->getKeys(new Model\KeyOwnersInput(['acc_ids' => $accounts])));
        foreach ($found->getPublicKeys() as $member) {
            $theirs = publicKey($member->getPublicKey()->getX(), $member->getPublicKey()->getY());
            [$wrapped, $iv] = encrypt($this->pair, $theirs, $secret);
            $stored = yes($this->keysOfGroups->storeGroupKey(new Model\GroupKeyInput([
                'group_id' => $group, 'acc_id' => $member->getAccId(), 'keyholder' => $this->id,
                'group_key' => $wrapped, 'iv' => $iv,
            ])));
            expect($stored->getGroupVersion() === (string) $version, 'stored under the version that was taken');
        }
        return $version;
    }

    /** Fetches and unwraps the keys of the group that are stored for oneself; answers them as they were stored. */
    public function fetchGroupKeys(string $group): array
    {
        $wanted = new Model\GroupKeysInput(['group_id' => $group, 'acc_id' => $this->id]);
        $stored = yes($this->keysOfGroups->listGroupKeys($wanted))->getGroupKeys();
        foreach ($stored as $key) {
            $secret = decrypt($this->pair, $this->publicKeyOf($key->getKeyholder()), $key->getGroupKey(), $key->getIv());
            $this->groupKeys["$group:{$key->getGroupVersion()}"] = pairFrom($secret);
        }
        return $stored;
    }

    public function writeToGroup(string $group, string $text): void
    {
        $current = yes($this->keysOfGroups->getGroupVersion(new Model\GroupInput(['group_id' => $group])));
        $name = "$group:{$current->getGroupVersion()}";
        $key = $this->groupKeys[$name];
        $this->write($group, $group, encrypt($key, self::publicHalf($key), $text), $name);
    }

    public function readFromGroup(string $group): array
    {
        $texts = array_filter($this->read($group), fn ($message) => $message->getMessageType() === Model\MessageType::TEXT);
        return array_values(array_map(function ($message) {
            $key = $this->groupKeys[$message->getGroupVersionKey()];
            return decrypt($key, self::publicHalf($key), $message->getText(), $message->getIv());
        }, $texts));
    }

    private static function publicHalf(OpenSSLAsymmetricKey $pair): OpenSSLAsymmetricKey
    {
        return publicKey(number($pair, 'x'), number($pair, 'y'));
    }
}

// --- The story -----------------------------------------------------------------------------------------------------

[$anna, $ben] = [new Person('Anna'), new Person('Ben')];
echo "Anna is $anna->id, Ben is $ben->id.\n";

$changes = new Changes($ben->http);
$withBen = new Model\ConversationInput(['receiver_id' => $ben->id]);
$thread = yes($anna->conversations->startConversation($withBen))->getThreadId();
$question = 'Shall we found a group?';
$anna->write($thread, $ben->id, encrypt($anna->pair, $anna->publicKeyOf($ben->id), $question));

$arrived = $changes->next('newMessage');
expect([$arrived->getThreadId(), $arrived->getSender(), $arrived->getNickname()] === [$thread, $anna->id, 'Anna'], 'a message');
$texts = array_filter($ben->read($thread), fn ($message) => $message->getMessageType() === Model\MessageType::TEXT);
$letter = array_values($texts)[0];
expect($letter->getText() !== $question, 'nobody else can read it');
$opened = decrypt($ben->pair, $ben->publicKeyOf($letter->getSender()), $letter->getText(), $letter->getIv());
expect($opened === $question, 'Ben can');
$seen = $anna->read($thread);
expect(end($seen)->getStatus() === [$ben->id], 'Anna sees that Ben has read it');
echo "A message reached Ben at once, and only he can read it.\n";

// The server restarts, and so ends the stream in good order.
$restart = getenv('BE8_RESTART');
if ($restart) {
    touch($restart);
    for (; file_exists($restart); clearstatcache()) {
        usleep(100_000);
    }
}
$anna->write($thread, $ben->id, encrypt($anna->pair, $anna->publicKeyOf($ben->id), 'Are you still there?'));

// Both kinds of refusals: with a status from 400, and with status 200.
$nobody = new Model\ConversationInput(['receiver_id' => '9']);
expect(refusal($anna->conversations->startConversation($nobody)) === 'ACCNOTEXISTS', 'ACCNOTEXISTS');
$nowhere = new Model\GroupInput(['group_id' => 'g9']);
expect(refusal($ben->groups->joinGroup($nowhere)) === 'GROUPNOTEXISTING', 'GROUPNOTEXISTING');

$friends = new Model\GroupCreateInput(['nickname' => 'Friends', 'group_type' => Model\GroupType::_PRIVATE]);
$group = yes($anna->groups->createGroup($friends))->getGroupId();
yes($anna->groups->joinGroup(new Model\GroupInput(['group_id' => $group])));
yes($anna->groups->addGroupMember(new Model\GroupAddInput(['group_id' => $group, 'member_id' => $ben->id])));
expect($changes->next('groupJoin')->getGroupId() === $group, 'Ben is in');
// The conversation itself and the two messages, each once.
$ofThread = fn ($change) => $change->getAction() === 'newMessage' && $change->getThreadId() === $thread;
expect(count(array_filter($changes->seen, $ofThread)) === 3, 'three messages of the conversation');
if ($restart) {
    expect($changes->ends === 1, "$changes->ends ends in good order");
    echo "The server was restarted; Ben came back with the last id, and nothing was missed or came twice.\n";
}
expect($anna->rekey($group) === 1, 'the first version');
$anna->fetchGroupKeys($group);
$ben->fetchGroupKeys($group);
$anna->writeToGroup($group, 'Welcome!');
expect($changes->next('newMessage')->getThreadId() === $group, 'a message in the group');

expect($ben->rekey($group) === 2, 'the second version');
$anna->fetchGroupKeys($group);
$stored = $ben->fetchGroupKeys($group);
$ben->writeToGroup($group, 'A new key, and thank you.');
expect($anna->readFromGroup($group) === ['Welcome!', 'A new key, and thank you.'], 'both can be read');
echo "The group $group has changed its key; all that was written under both can be read.\n";

// Who had which key when, for everybody in the group to check: a fingerprint is the SHA-256 of a wrapped key.
$entries = $ben->audit->getGroupHistory($group)->getEntries();
$acts = array_values(array_diff(array_map(fn ($entry) => $entry->getAct(), $entries), ['message']));
$rekeyed = ['versionAllocated', 'keyStored', 'keyStored'];
expect($acts === ['created', 'joined', 'added', ...$rekeyed, ...$rekeyed], implode(' ', $acts));
$forBen = array_values(array_filter(
    $entries, fn ($entry) => $entry->getAct() === 'keyStored' && $entry->getAccount() === $ben->id,
));
$fingerprints = array_map(fn ($key) => hash('sha256', $key->getGroupKey()), $stored);
expect(array_map(fn ($entry) => $entry->getFingerprint(), $forBen) === $fingerprints, 'the keys that Ben was handed');

while (refusal($proof = $ben->audit->getGroupProof($group, end($forBen)->getPosition())) === 'NOTCOVEREDYET') {
    // The next checkpoint will cover it.
    usleep(500_000);
}
checkProof(base64_decode(yes($proof)->getCanonical()), $proof->getProof());

// What anybody may read: whose log it is, and the first of its hashes.
[$origin] = explode("\n", $ben->audit->getLogCheckpoint());
expect($origin === explode('+', $ben->audit->getLogKey())[0], 'the name of the log');
$tile = $ben->audit->getLogTilePart(0, '000', 1);
expect($tile->getSize() === 32, 'a hash');
unlink($tile->getPathname());
echo "The history says who had which key, and the event that gave Ben his is proved to be in the log.\n";
