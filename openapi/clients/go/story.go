// One story of two people with the Go client that openapi-generator makes: accounts, an encrypted conversation, a live
// change, a group whose key changes, its history and the proof of it. The server is where BE8_URL says.
package main

import (
	"context"
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"story/be8"
)

var (
	baseURL = os.Getenv("BE8_URL")
	ctx     = context.Background()
)

// --- Answers --------------------------------------------------------------------------------------------------------

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func expect(holds bool, what string) {
	if !holds {
		panic("not so: " + what)
	}
}

// sent is what was answered; a refusal with a status from 400 is an error already, and a fault of this story.
func sent[T any](answer T, _ *http.Response, err error) T {
	return must(answer, err)
}

// yes is the accepted part of an answer that can refuse with status 200.
func yes[T any](union interface{ GetActualInstanceValue() any }) T {
	accepted, is := union.GetActualInstanceValue().(T)
	if !is {
		panic(fmt.Sprintf("%+v", union.GetActualInstanceValue()))
	}
	return accepted
}

// codeOf is the code of a refusal with a status from 400.
func codeOf(err error) be8.Code {
	var refused *be8.GenericOpenAPIError
	if !errors.As(err, &refused) {
		return ""
	}
	switch body := refused.Model().(type) {
	case be8.ErrorBody:
		return body.Error
	case be8.Problem:
		return body.Error
	}
	return ""
}

// --- A person -------------------------------------------------------------------------------------------------------

// person is somebody with an account. The HTTP client underneath keeps the session cookie.
type person struct {
	http *http.Client
	api  *be8.APIClient
	id   string
	pair *ecdh.PrivateKey
	// The keys of groups by `<groupID>:<version>`.
	groupKeys map[string]*ecdh.PrivateKey
}

// signUp makes an account and its public key.
func signUp(nickname string) *person {
	configuration := be8.NewConfiguration()
	configuration.Servers = be8.ServerConfigurations{{URL: baseURL}}
	configuration.HTTPClient = &http.Client{Jar: must(cookiejar.New(nil))}
	p := &person{http: configuration.HTTPClient, api: be8.NewAPIClient(configuration), pair: newPair(),
		groupKeys: map[string]*ecdh.PrivateKey{}}
	account := be8.NewAccountInput(nickname, newUUID())
	made := sent(p.api.AccountsAPI.CreateAccount(ctx).AccountInput(*account).Execute())
	p.id = strconv.FormatInt(yes[be8.AccountMade](made).AccID, 10)
	key := publicJWK(p.pair)
	input := be8.NewKeyInput(*be8.NewPublicKeyInput(key.Crv, key.Ext, key.KeyOps, key.Kty, key.X, key.Y))
	sent(p.api.KeysAPI.SetKey(ctx).KeyInput(*input).Execute())
	return p
}

func (p *person) publicKeyOf(account string) *ecdh.PublicKey {
	found := sent(p.api.KeysAPI.GetKey(ctx).KeyOwnerInput(*be8.NewKeyOwnerInput(account)).Execute())
	key := yes[be8.KeyFound](found).PublicKey
	return publicKey(key.GetX(), key.GetY())
}

// write writes to a thread; a repetition under the same key would not be a second message.
func (p *person) write(thread, receiver, text, iv string, version *string) {
	letter := be8.NewMessageInput(be8.SENTTYPE_TEXT, receiver, p.id, text, thread)
	letter.Iv, letter.GroupVersionKey = &iv, version
	request := p.api.MessagesAPI.WriteMessage(ctx).MessageInput(*letter).IdempotencyKey(newUUID())
	yes[be8.MessageWritten](sent(request.Execute()))
}

func (p *person) read(thread string) []be8.Message {
	return sent(p.api.MessagesAPI.ListMessages(ctx).MessagesInput(*be8.NewMessagesInput(thread)).Execute()).Messages
}

// rekey takes a new version of the group's key and hands it, wrapped, to each member.
func (p *person) rekey(group string) int32 {
	which := *be8.NewGroupInput(group)
	version := yes[be8.VersionTaken](sent(p.api.GroupKeysAPI.IncreaseGroupVersion(ctx).GroupInput(which).Execute())).GroupVersion
	var accounts []string
	for _, member := range yes[be8.GroupMemberList](sent(p.api.GroupsAPI.ListGroupMembers(ctx).GroupInput(which).Execute())).Members {
		accounts = append(accounts, member.Id)
	}
	found := sent(p.api.KeysAPI.GetKeys(ctx).KeyOwnersInput(*be8.NewKeyOwnersInput(accounts)).Execute())
	secret := privateJWK(newPair())
	for _, member := range yes[be8.KeysFound](found).PublicKeys {
		wrapped, iv := encrypt(p.pair, publicKey(member.PublicKey.GetX(), member.PublicKey.GetY()), secret)
		key := be8.NewGroupKeyInput(member.AccID, group, wrapped, p.id)
		key.Iv = &iv
		stored := yes[be8.KeyStored](sent(p.api.GroupKeysAPI.StoreGroupKey(ctx).GroupKeyInput(*key).Execute()))
		expect(stored.GroupVersion == strconv.Itoa(int(version)), "stored under the version that was taken")
	}
	return version
}

// fetchGroupKeys fetches and unwraps the keys of the group that are stored for oneself; answers them as they were stored.
func (p *person) fetchGroupKeys(group string) []be8.GroupKey {
	wanted := be8.NewGroupKeysInput(p.id, group)
	stored := yes[be8.GroupKeyList](sent(p.api.GroupKeysAPI.ListGroupKeys(ctx).GroupKeysInput(*wanted).Execute())).GroupKeys
	for _, key := range stored {
		secret := decrypt(p.pair, p.publicKeyOf(key.Keyholder), key.GroupKey, key.GetIv())
		p.groupKeys[group+":"+key.GroupVersion] = pairFrom(secret)
	}
	return stored
}

func (p *person) writeToGroup(group, text string) {
	current := sent(p.api.GroupKeysAPI.GetGroupVersion(ctx).GroupInput(*be8.NewGroupInput(group)).Execute())
	version := yes[be8.CurrentVersion](current).GroupVersion
	name := group + ":" + *version.Get()
	key := p.groupKeys[name]
	sealed, iv := encrypt(key, key.PublicKey(), text)
	p.write(group, group, sealed, iv, &name)
}

func (p *person) readFromGroup(group string) (texts []string) {
	for _, message := range p.read(group) {
		if message.MessageType == be8.MESSAGETYPE_TEXT {
			key := p.groupKeys[message.GetGroupVersionKey()]
			texts = append(texts, decrypt(key, key.PublicKey(), message.GetText(), message.GetIv()))
		}
	}
	return texts
}

// --- The story ------------------------------------------------------------------------------------------------------

func main() {
	anna, ben := signUp("Anna"), signUp("Ben")
	fmt.Printf("Anna is %s, Ben is %s.\n", anna.id, ben.id)

	live := listen(ben.http)
	withBen := be8.NewConversationInput(ben.id)
	thread := sent(anna.api.ConversationsAPI.StartConversation(ctx).ConversationInput(*withBen).Execute()).ThreadID
	question := "Shall we found a group?"
	sealed, iv := encrypt(anna.pair, anna.publicKeyOf(ben.id), question)
	anna.write(thread, ben.id, sealed, iv, nil)

	arrived := next[be8.MessageArrived](live)
	expect(arrived.ThreadID == thread && arrived.Sender == anna.id && arrived.Nickname == "Anna", "a message of Anna's")
	messages := ben.read(thread)
	letter := messages[slices.IndexFunc(messages, func(m be8.Message) bool { return m.MessageType == be8.MESSAGETYPE_TEXT })]
	expect(letter.GetText() != question, "nobody else can read it")
	expect(decrypt(ben.pair, ben.publicKeyOf(letter.Sender), letter.GetText(), letter.GetIv()) == question, "Ben can")
	seen := anna.read(thread)
	expect(slices.Equal(seen[len(seen)-1].Status, []string{ben.id}), "Anna sees that Ben has read it")
	fmt.Println("A message reached Ben at once, and only he can read it.")

	// The server restarts, and so ends the stream in good order.
	restart := os.Getenv("BE8_RESTART")
	if restart != "" {
		check(os.WriteFile(restart, nil, 0o600))
		for _, err := os.Stat(restart); err == nil; _, err = os.Stat(restart) {
			time.Sleep(100 * time.Millisecond)
		}
	}
	sealed, iv = encrypt(anna.pair, anna.publicKeyOf(ben.id), "Are you still there?")
	anna.write(thread, ben.id, sealed, iv, nil)

	// Both kinds of refusals: with a status from 400, and with status 200.
	nobody := be8.NewConversationInput("9")
	_, _, err := anna.api.ConversationsAPI.StartConversation(ctx).ConversationInput(*nobody).Execute()
	expect(codeOf(err) == be8.CODE_ACCNOTEXISTS, "ACCNOTEXISTS")
	nowhere := sent(ben.api.GroupsAPI.JoinGroup(ctx).GroupInput(*be8.NewGroupInput("g9")).Execute())
	expect(yes[be8.Refused](nowhere).Reason == be8.CODE_GROUPNOTEXISTING, "GROUPNOTEXISTING")

	friends := be8.NewGroupCreateInput(be8.GROUPTYPE_PRIVATE, "Friends")
	group := sent(anna.api.GroupsAPI.CreateGroup(ctx).GroupCreateInput(*friends).Execute()).GroupID
	yes[be8.Success](sent(anna.api.GroupsAPI.JoinGroup(ctx).GroupInput(*be8.NewGroupInput(group)).Execute()))
	added := be8.NewGroupAddInput(group, ben.id)
	yes[be8.GroupMemberIds](sent(anna.api.GroupsAPI.AddGroupMember(ctx).GroupAddInput(*added).Execute()))
	expect(next[be8.GroupJoin](live).GroupID == group, "Ben is in")
	// The conversation itself and the two messages, each once.
	count := 0
	for _, change := range live.seen {
		if message, is := change.(be8.MessageArrived); is && message.ThreadID == thread {
			count++
		}
	}
	expect(count == 3, fmt.Sprint(count, " messages of the conversation"))
	if restart != "" {
		expect(live.ends == 1, "one end in good order")
		fmt.Println("The server was restarted; Ben came back with the last id, and nothing was missed or came twice.")
	}
	expect(anna.rekey(group) == 1, "the first version")
	anna.fetchGroupKeys(group)
	ben.fetchGroupKeys(group)
	anna.writeToGroup(group, "Welcome!")
	expect(next[be8.MessageArrived](live).ThreadID == group, "a message in the group")
	live.body.Close()

	expect(ben.rekey(group) == 2, "the second version")
	anna.fetchGroupKeys(group)
	stored := ben.fetchGroupKeys(group)
	ben.writeToGroup(group, "A new key, and thank you.")
	expect(reflect.DeepEqual(anna.readFromGroup(group), []string{"Welcome!", "A new key, and thank you."}), "both can be read")
	fmt.Printf("The group %s has changed its key; all that was written under both can be read.\n", group)

	// Who had which key when, for everybody in the group to check: a fingerprint is the SHA-256 of a wrapped key.
	var acts []string
	var forBen []be8.HistoryEntry
	for _, entry := range sent(ben.api.AuditAPI.GetGroupHistory(ctx, group).Execute()).Entries {
		if entry.Act != be8.ACTKIND_MESSAGE {
			acts = append(acts, string(entry.Act))
		}
		if entry.Act == be8.ACTKIND_KEY_STORED && entry.GetAccount() == ben.id {
			forBen = append(forBen, entry)
		}
	}
	rekeyed := strings.Repeat(" versionAllocated keyStored keyStored", 2)
	expect(strings.Join(acts, " ") == "created joined added"+rekeyed, strings.Join(acts, " "))
	expect(len(forBen) == 2 && len(stored) == 2, "two keys for Ben")
	for at, key := range stored {
		expect(forBen[at].GetFingerprint() == fmt.Sprintf("%x", sha256.Sum256([]byte(key.GroupKey))), "the key that Ben was handed")
	}

	for {
		proof, _, err := ben.api.AuditAPI.GetGroupProof(ctx, group).Position(forBen[1].Position).Execute()
		if codeOf(err) == be8.CODE_NOTCOVEREDYET {
			// The next checkpoint will cover it.
			time.Sleep(500 * time.Millisecond)
			continue
		}
		check(err)
		checkProof(must(base64.StdEncoding.DecodeString(proof.Canonical)), proof.Proof)
		break
	}
	// What anybody may read: whose log it is, and the first of its hashes.
	origin, _, _ := strings.Cut(sent(ben.api.AuditAPI.GetLogCheckpoint(ctx).Execute()), "\n")
	name, _, _ := strings.Cut(sent(ben.api.AuditAPI.GetLogKey(ctx).Execute()), "+")
	expect(origin == name, "the name of the log")
	tile := sent(ben.api.AuditAPI.GetLogTilePart(ctx, 0, "000", 1).Execute())
	defer os.Remove(tile.Name())
	expect(must(tile.Stat()).Size() == 32, "a hash")
	fmt.Println("The history says who had which key, and the event that gave Ben his is proved to be in the log.")
}
