<?php

declare(strict_types=1);

use GuzzleHttp\Client;
use GuzzleHttp\Exception\TransferException;
use GuzzleHttp\Psr7\Utils;
use OpenAPI\Client\Model;
use OpenAPI\Client\ObjectSerializer;
use Psr\Http\Message\StreamInterface;

/**
 * Somebody's live changes, for as long as one asks. The generated method would wait for the end of the stream, so the HTTP
 * client reads them. Whether the connection breaks or the server ends the stream in good order, as it does to restart: one
 * comes back after the pause that the server asked for, with the last id.
 */
final class Changes
{
    /** The generated class of the union knows one action only, so the part is chosen here. */
    private const PARTS = [
        'expiredAcc' => Model\ExpiredAcc::class,
        'groupCreate' => Model\GroupCreate::class,
        'groupJoin' => Model\GroupJoin::class,
        'groupMemberRemove' => Model\GroupMemberRemove::class,
        'groupUpdate' => Model\GroupUpdate::class,
        'messageRead' => Model\MessageRead::class,
        'newConversation' => Model\ConversationStarted::class,
        'newMessage' => Model\MessageArrived::class,
    ];
    /** All that came. */
    public array $seen = [];
    /** How often the stream ended; PHP's own streams do not say whether in good order. */
    public int $ends = 0;
    private StreamInterface $body;
    private ?string $last = null;
    private int $pause = 2500;

    public function __construct(private readonly Client $http)
    {
        expect($this->open(), 'a stream');
    }

    /** Opens the stream; false if the server is away. */
    private function open(): bool
    {
        $headers = $this->last === null ? [] : ['Last-Event-ID' => $this->last];
        try {
            // A silent stream sends a comment line every 15 seconds.
            $options = ['headers' => $headers, 'stream' => true, 'read_timeout' => 45];
            $answer = $this->http->get(getenv('BE8_URL') . '/events', $options);
        } catch (TransferException) {
            return false;
        }
        $status = $answer->getStatusCode();
        expect($status === 200 || $status >= 500, "status $status");
        $this->body = $answer->getBody();
        return $status === 200;
    }

    /** The next change of a kind. */
    public function next(string $action): Model\ModelInterface
    {
        [$data, $id] = [null, null];
        while (true) {
            $line = Utils::readLine($this->body);
            if (!str_ends_with($line, "\n")) {
                $this->ends++;
                $data = null;
                do {
                    usleep($this->pause * 1000);
                } while (!$this->open());
                continue;
            }
            [$field, $value] = explode(': ', rtrim($line, "\n"), 2) + [1 => ''];
            if ($field === 'data') {
                $data = $value;
            } elseif ($field === 'id') {
                $id = $value;
            } elseif ($field === 'retry') {
                $this->pause = (int) $value;
            } elseif ($line === "\n" && $data !== null) {
                // The id counts from here on only: what was cut off in between comes again.
                $this->last = $id;
                $json = json_decode($data);
                $change = ObjectSerializer::deserialize($json, self::PARTS[$json->action]);
                $data = null;
                $this->seen[] = $change;
                if ($change->getAction() === $action) {
                    return $change;
                }
            }
        }
    }
}
