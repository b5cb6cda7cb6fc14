import static java.nio.charset.StandardCharsets.UTF_8;

import be8.ApiClient;
import be8.ApiException;
import be8.api.AccountsApi;
import be8.api.AuditApi;
import be8.api.ConversationsApi;
import be8.api.GroupKeysApi;
import be8.api.GroupsApi;
import be8.api.KeysApi;
import be8.api.MessagesApi;
import be8.model.*;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.math.BigInteger;
import java.net.CookieManager;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.MessageDigest;
import java.security.interfaces.ECPrivateKey;
import java.security.interfaces.ECPublicKey;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.ECParameterSpec;
import java.security.spec.ECPoint;
import java.security.spec.ECPrivateKeySpec;
import java.security.spec.ECPublicKeySpec;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import javax.crypto.Cipher;
import javax.crypto.KeyAgreement;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.SecretKeySpec;

/**
 * One story of two people with the generated Java client: accounts, an encrypted conversation, a live change, a group whose
 * key changes, its history and the proof of it. The server is where BE8_URL says.
 */
public final class Story {
  private static final String URL = System.getenv().getOrDefault("BE8_URL", "http://127.0.0.1:3000");
  private static final ObjectMapper JSON = Strict.mapper();

  // --- Answers ------------------------------------------------------------------------------------------------------

  /** What was accepted. An answer with a status from 400 is an ApiException already. */
  private static <T> T yes(AbstractOpenApiSchema answer, Class<T> accepted) {
    if (answer.getActualInstance() instanceof Refused refused) {
      throw new IllegalStateException(refused.getReason().getValue());
    }
    return accepted.cast(answer.getActualInstance());
  }

  private static void check(boolean holds, String what) {
    if (!holds) {
      throw new AssertionError(what);
    }
  }

  // --- Encryption: ECDH on P-384, AES-256-GCM; the vector is a UUID as text -----------------------------------------

  private record Sealed(String text, String iv) {}

  private static KeyPair newPair() throws GeneralSecurityException {
    KeyPairGenerator generator = KeyPairGenerator.getInstance("EC");
    generator.initialize(new ECGenParameterSpec("secp384r1"));
    return generator.generateKeyPair();
  }

  private static String toText(BigInteger number) {
    byte[] bytes = new byte[48];
    byte[] shortest = number.toByteArray();
    int length = Math.min(shortest.length, 48);
    System.arraycopy(shortest, shortest.length - length, bytes, 48 - length, length);
    return Base64.getUrlEncoder().withoutPadding().encodeToString(bytes);
  }

  private static BigInteger toNumber(String text) {
    return new BigInteger(1, Base64.getUrlDecoder().decode(text));
  }

  private static ECPoint point(KeyPair pair) {
    return ((ECPublicKey) pair.getPublic()).getW();
  }

  private static ECPoint point(PublicKey key) {
    return new ECPoint(toNumber(key.getX()), toNumber(key.getY()));
  }

  private static String privateJwk(KeyPair pair) throws Exception {
    String d = toText(((ECPrivateKey) pair.getPrivate()).getS());
    return JSON.writeValueAsString(Map.of("crv", "P-384", "ext", true, "key_ops", List.of("deriveKey"), "kty", "EC",
        "x", toText(point(pair).getAffineX()), "y", toText(point(pair).getAffineY()), "d", d));
  }

  private static KeyPair fromJwk(JsonNode jwk) throws GeneralSecurityException {
    ECParameterSpec curve = ((ECPublicKey) newPair().getPublic()).getParams();
    KeyFactory factory = KeyFactory.getInstance("EC");
    ECPoint point = new ECPoint(toNumber(jwk.get("x").asText()), toNumber(jwk.get("y").asText()));
    return new KeyPair(factory.generatePublic(new ECPublicKeySpec(point, curve)),
        factory.generatePrivate(new ECPrivateKeySpec(toNumber(jwk.get("d").asText()), curve)));
  }

  /** The cipher that both ends derive from one's secret and the other's public key. */
  private static Cipher cipher(int mode, KeyPair mine, ECPoint theirs, String iv) throws GeneralSecurityException {
    ECParameterSpec curve = ((ECPublicKey) mine.getPublic()).getParams();
    KeyAgreement agreement = KeyAgreement.getInstance("ECDH");
    agreement.init(mine.getPrivate());
    agreement.doPhase(KeyFactory.getInstance("EC").generatePublic(new ECPublicKeySpec(theirs, curve)), true);
    SecretKeySpec key = new SecretKeySpec(Arrays.copyOf(agreement.generateSecret(), 32), "AES");
    Cipher cipher = Cipher.getInstance("AES/GCM/NoPadding");
    cipher.init(mode, key, new GCMParameterSpec(128, iv.getBytes()));
    return cipher;
  }

  private static Sealed encrypt(KeyPair mine, ECPoint theirs, String text) throws GeneralSecurityException {
    String iv = UUID.randomUUID().toString();
    byte[] sealed = cipher(Cipher.ENCRYPT_MODE, mine, theirs, iv).doFinal(text.getBytes());
    return new Sealed(Base64.getEncoder().encodeToString(sealed), iv);
  }

  private static String decrypt(KeyPair mine, ECPoint theirs, String text, String iv) throws GeneralSecurityException {
    return new String(cipher(Cipher.DECRYPT_MODE, mine, theirs, iv).doFinal(Base64.getDecoder().decode(text)));
  }

  private static byte[] sha256(byte[]... parts) throws GeneralSecurityException {
    MessageDigest digest = MessageDigest.getInstance("SHA-256");
    Arrays.stream(parts).forEach(digest::update);
    return digest.digest();
  }

  // --- A person -----------------------------------------------------------------------------------------------------

  /** Somebody with an account. The HTTP client underneath keeps the session cookie. */
  private static final class Person {
    final ApiClient client =
        new ApiClient(HttpClient.newBuilder().cookieHandler(new CookieManager()), JSON, URL);
    final GroupKeysApi keys = new GroupKeysApi(client);
    final GroupsApi groups = new GroupsApi(client);
    final KeyPair pair = newPair();
    final Map<String, KeyPair> groupKeys = new HashMap<>();
    final String id;

    Person(String nickname) throws Exception {
      AccountInput account = new AccountInput().nickname(nickname).password(UUID.randomUUID().toString());
      id = yes(new AccountsApi(client).createAccount(account), AccountMade.class).getAccID().toString();
      PublicKeyInput jwk = new PublicKeyInput().crv("P-384").ext(true).keyOps(List.of()).kty("EC")
          .x(toText(point(pair).getAffineX())).y(toText(point(pair).getAffineY()));
      new KeysApi(client).setKey(new KeyInput().publicKey(jwk), null);
    }

    ECPoint publicKeyOf(String account) throws Exception {
      return point(yes(new KeysApi(client).getKey(new KeyOwnerInput().accID(account)), KeyFound.class).getPublicKey());
    }

    /** Writes to a thread; a repetition under the same key would not be a second message. */
    void write(String thread, String receiver, Sealed sealed, String version) throws ApiException {
      MessageInput letter = new MessageInput().threadID(thread).receiver(receiver).sender(id).messageType(SentType.TEXT)
          .text(sealed.text()).iv(sealed.iv()).groupVersionKey(version);
      new MessagesApi(client).writeMessage(letter, UUID.randomUUID().toString());
    }

    List<Message> read(String thread) throws ApiException {
      return new MessagesApi(client).listMessages(new MessagesInput().threadID(thread)).getMessages();
    }

    /** Takes a new version of the group's key and hands it, wrapped, to each member. */
    int rekey(String group) throws Exception {
      GroupInput which = new GroupInput().groupID(group);
      int version = yes(keys.increaseGroupVersion(which, null), VersionTaken.class).getGroupVersion();
      KeyOwnersInput wanted = new KeyOwnersInput().accIDs(new ArrayList<>());
      yes(groups.listGroupMembers(which), GroupMemberList.class).getMembers()
          .forEach(member -> wanted.addAccIDsItem(member.getId()));
      String secret = privateJwk(newPair());
      for (AccountKey member : yes(new KeysApi(client).getKeys(wanted), KeysFound.class).getPublicKeys()) {
        Sealed sealed = encrypt(pair, point(member.getPublicKey()), secret);
        GroupKeyInput key = new GroupKeyInput().groupID(group).accID(member.getAccID()).keyholder(id)
            .groupKey(sealed.text()).iv(sealed.iv());
        String stored = yes(keys.storeGroupKey(key, null), KeyStored.class).getGroupVersion();
        check(stored.equals(String.valueOf(version)), "stored under the version that was taken");
      }
      return version;
    }

    /** Fetches and unwraps the keys of the group that are stored for oneself; answers them as they were stored. */
    List<GroupKey> fetchGroupKeys(String group) throws Exception {
      GroupKeysInput wanted = new GroupKeysInput().groupID(group).accID(id);
      List<GroupKey> stored = yes(keys.listGroupKeys(wanted), GroupKeyList.class).getGroupKeys();
      for (GroupKey key : stored) {
        String jwk = decrypt(pair, publicKeyOf(key.getKeyholder()), key.getGroupKey(), key.getIv());
        groupKeys.put(group + ":" + key.getGroupVersion(), fromJwk(JSON.readTree(jwk)));
      }
      return stored;
    }

    void writeToGroup(String group, String text) throws Exception {
      var current = yes(keys.getGroupVersion(new GroupInput().groupID(group)), CurrentVersion.class);
      String name = group + ":" + current.getGroupVersion();
      KeyPair key = groupKeys.get(name);
      write(group, group, encrypt(key, point(key), text), name);
    }

    List<String> readFromGroup(String group) throws Exception {
      List<String> texts = new ArrayList<>();
      for (Message message : read(group)) {
        if (message.getMessageType() == MessageType.TEXT) {
          KeyPair key = groupKeys.get(message.getGroupVersionKey());
          texts.add(decrypt(key, point(key), message.getText(), message.getIv()));
        }
      }
      return texts;
    }
  }

  // --- Live changes -------------------------------------------------------------------------------------------------

  /**
   * Somebody's live changes, for as long as one asks. The generated method would wait for the end of the stream, so the HTTP
   * client reads them. Whether the connection breaks or the server ends the stream in good order, as it does to restart: one
   * comes back after the pause that the server asked for, with the last id.
   */
  private static final class Changes {
    /** All that came. */
    final List<Object> seen = new ArrayList<>();
    /** How often the server ended a stream in good order. */
    int ends;

    private final HttpClient client;
    private BufferedReader lines;
    private String last;
    private long pause = 2500;

    Changes(HttpClient client) throws InterruptedException {
      this.client = client;
      check(open(), "a stream");
    }

    /** Opens the stream; false if the server is away. */
    private boolean open() throws InterruptedException {
      HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(URL + "/events"));
      if (last != null) {
        request.header("Last-Event-ID", last);
      }
      try {
        var answer = client.send(request.build(), BodyHandlers.ofInputStream());
        check(answer.statusCode() == 200 || answer.statusCode() >= 500, "a stream");
        lines = new BufferedReader(new InputStreamReader(answer.body(), UTF_8));
        return answer.statusCode() == 200;
      } catch (IOException away) {
        return false;
      }
    }

    /** The next line; none when the connection has ended. */
    private String line() {
      try {
        String line = lines.readLine();
        ends += line == null ? 1 : 0;
        return line;
      } catch (IOException cut) {
        return null;
      }
    }

    /** The next change of a kind. */
    <T> T next(Class<T> kind) throws Exception {
      String data = null;
      String id = null;
      while (true) {
        String line = line();
        if (line == null) {
          data = null;
          do {
            Thread.sleep(pause);
          } while (!open());
        } else if (line.startsWith("data: ")) {
          data = line.substring(6);
        } else if (line.startsWith("id: ")) {
          id = line.substring(4);
        } else if (line.startsWith("retry: ")) {
          pause = Long.parseLong(line.substring(7));
        } else if (line.isEmpty() && data != null) {
          // The id counts from here on only: what was cut off in between comes again.
          last = id;
          Object change = JSON.readValue(data, Change.class).getActualInstance();
          data = null;
          seen.add(change);
          if (kind.isInstance(change)) {
            return kind.cast(change);
          }
        }
      }
    }
  }

  /** Follows a proof from an event's bytes to the root that the checkpoint signs (C2SP tlog-proof, RFC 6962). */
  private static void checkProof(byte[] canonical, String proof) throws GeneralSecurityException {
    String[] parts = proof.split("\n\n");
    String[] head = parts[0].split("\n");
    String[] checkpoint = parts[1].split("\n");
    check(head[0].equals("c2sp.org/tlog-proof@v1"), head[0]);
    long at = Long.parseLong(head[1].substring("index ".length()));
    long last = Long.parseLong(checkpoint[1]) - 1;
    byte[] hash = sha256(new byte[] {0}, sha256(canonical));
    for (String text : Arrays.copyOfRange(head, 2, head.length)) {
      byte[] sibling = Base64.getDecoder().decode(text);
      check(last > 0, "the proof is too long");
      if (at % 2 == 1 || at == last) {
        hash = sha256(new byte[] {1}, sibling, hash);
        for (; at % 2 == 0 && at > 0; at /= 2) {
          last /= 2;
        }
      } else {
        hash = sha256(new byte[] {1}, hash, sibling);
      }
      at /= 2;
      last /= 2;
    }
    check(last == 0, "the proof is too short");
    check(Base64.getEncoder().encodeToString(hash).equals(checkpoint[2]), "the root that is signed");
  }

  // --- The story ----------------------------------------------------------------------------------------------------

  public static void main(String[] arguments) throws Exception {
    Person anna = new Person("Anna");
    Person ben = new Person("Ben");
    System.out.printf("Anna is %s, Ben is %s.%n", anna.id, ben.id);

    Changes changes = new Changes(ben.client.getHttpClient());
    ConversationsApi conversations = new ConversationsApi(anna.client);
    String thread = conversations.startConversation(new ConversationInput().receiverID(ben.id), null).getThreadID();
    String question = "Shall we found a group?";
    anna.write(thread, ben.id, encrypt(anna.pair, anna.publicKeyOf(ben.id), question), null);

    MessageArrived arrived = changes.next(MessageArrived.class);
    check(arrived.getThreadID().equals(thread) && arrived.getSender().equals(anna.id), "a message of Anna's");
    Message letter = ben.read(thread).stream().filter(any -> any.getMessageType() == MessageType.TEXT).findFirst().get();
    check(!letter.getText().equals(question), "nobody else can read it");
    check(decrypt(ben.pair, ben.publicKeyOf(anna.id), letter.getText(), letter.getIv()).equals(question), "Ben can");
    List<Message> seen = anna.read(thread);
    check(seen.get(seen.size() - 1).getStatus().equals(List.of(ben.id)), "Anna sees that Ben has read it");
    System.out.println("A message reached Ben at once, and only he can read it.");

    // The server restarts, and so ends the stream in good order.
    String restart = System.getenv("BE8_RESTART");
    if (restart != null) {
      Files.createFile(Path.of(restart));
      while (Files.exists(Path.of(restart))) {
        Thread.sleep(100);
      }
    }
    anna.write(thread, ben.id, encrypt(anna.pair, anna.publicKeyOf(ben.id), "Are you still there?"), null);

    // Both kinds of refusals: with a status from 400, and with status 200.
    try {
      conversations.startConversation(new ConversationInput().receiverID("9"), null);
      check(false, "an account that does not exist");
    } catch (ApiException refused) {
      ErrorBody error = JSON.readValue(refused.getResponseBody(), ErrorBody.class);
      check(refused.getCode() == 400 && error.getError() == Code.ACCNOTEXISTS, "ACCNOTEXISTS");
    }
    Object refused = ben.groups.joinGroup(new GroupInput().groupID("g9"), null).getActualInstance();
    check(((Refused) refused).getReason() == Code.GROUPNOTEXISTING, "GROUPNOTEXISTING");

    GroupCreateInput friends = new GroupCreateInput().nickname("Friends").groupType(GroupType.PRIVATE);
    String group = anna.groups.createGroup(friends, null).getGroupID();
    yes(anna.groups.joinGroup(new GroupInput().groupID(group), null), Success.class);
    GroupAddInput added = new GroupAddInput().groupID(group).memberID(ben.id);
    yes(anna.groups.addGroupMember(added, null), GroupMemberIds.class);
    check(changes.next(GroupJoin.class).getGroupID().equals(group), "Ben is in");
    // The conversation itself and the two messages, each once.
    long messages = changes.seen.stream()
        .filter(change -> change instanceof MessageArrived message && message.getThreadID().equals(thread)).count();
    check(messages == 3, messages + " messages of the conversation");
    if (restart != null) {
      check(changes.ends == 1, changes.ends + " ends in good order");
      System.out.println("The server was restarted; Ben came back with the last id, and nothing was missed or came twice.");
    }
    check(anna.rekey(group) == 1, "the first version");
    anna.fetchGroupKeys(group);
    ben.fetchGroupKeys(group);
    anna.writeToGroup(group, "Welcome!");
    check(changes.next(MessageArrived.class).getThreadID().equals(group), "a message in the group");

    check(ben.rekey(group) == 2, "the second version");
    anna.fetchGroupKeys(group);
    List<GroupKey> stored = ben.fetchGroupKeys(group);
    ben.writeToGroup(group, "A new key, and thank you.");
    check(anna.readFromGroup(group).equals(List.of("Welcome!", "A new key, and thank you.")), "both can be read");
    System.out.printf("The group %s has changed its key; all that was written under both can be read.%n", group);

    // Who had which key when, for everybody in the group to check: a fingerprint is the SHA-256 of a wrapped key.
    AuditApi audit = new AuditApi(ben.client);
    List<HistoryEntry> entries = audit.getGroupHistory(group, null, null, null, null).getEntries();
    String acts = String.join(" ", entries.stream().map(entry -> entry.getAct().getValue())
        .filter(act -> !act.equals("message")).toList());
    check(acts.equals("created joined added" + " versionAllocated keyStored keyStored".repeat(2)), acts);
    List<HistoryEntry> forBen = entries.stream()
        .filter(entry -> entry.getAct() == ActKind.KEY_STORED && ben.id.equals(entry.getAccount())).toList();
    check(forBen.size() == 2 && stored.size() == 2, "two keys for Ben");
    for (int at = 0; at < 2; at++) {
      String fingerprint = HexFormat.of().formatHex(sha256(stored.get(at).getGroupKey().getBytes()));
      check(fingerprint.equals(forBen.get(at).getFingerprint()), "the key that Ben was handed");
    }

    while (true) {
      try {
        GroupProof proof = audit.getGroupProof(group, forBen.get(1).getPosition());
        checkProof(Base64.getDecoder().decode(proof.getCanonical()), proof.getProof());
        break;
      } catch (ApiException answer) {
        // The next checkpoint will cover it.
        check(answer.getResponseBody().contains("NOTCOVEREDYET"), answer.getResponseBody());
        Thread.sleep(500);
      }
    }
    // What anybody may read: whose log it is, and the first of its hashes.
    String origin = audit.getLogCheckpoint().split("\n")[0];
    check(origin.equals(audit.getLogKey().split("\\+")[0]), "the name of the log");
    check(audit.getLogTilePart(0, "000", 1).length() == 32, "a hash");
    System.out.println("The history says who had which key, and the event that gave Ben his is proved to be in the log.");
    // The stream is still open.
    System.exit(0);
  }
}
