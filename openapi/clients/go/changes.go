package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"story/be8"
)

// changes are somebody's live changes, for as long as one asks. The generated method would wait for the end of the stream,
// so the HTTP client reads them. Whether the connection breaks or the server ends the stream in good order, as it does to
// restart: one comes back after the pause that the server asked for, with the last id.
type changes struct {
	client *http.Client
	body   io.ReadCloser
	lines  *bufio.Reader
	last   string
	pause  time.Duration
	// How often the server ended a stream in good order.
	ends int
	// All that came.
	seen []any
}

func listen(client *http.Client) *changes {
	c := &changes{client: client, pause: 2500 * time.Millisecond}
	expect(c.open(), "a stream")
	return c
}

// open is false if the server is away.
func (c *changes) open() bool {
	request := must(http.NewRequest(http.MethodGet, baseURL+"/events", nil))
	if c.last != "" {
		request.Header.Set("Last-Event-ID", c.last)
	}
	answer, err := c.client.Do(request)
	if err != nil {
		return false
	}
	expect(answer.StatusCode == 200 || answer.StatusCode >= 500, answer.Status)
	c.body, c.lines = answer.Body, bufio.NewReader(answer.Body)
	return answer.StatusCode == 200
}

// line is the next line; false when the connection has ended.
func (c *changes) line() (string, bool) {
	line, err := c.lines.ReadString('\n')
	if errors.Is(err, io.EOF) {
		c.ends++
	}
	return strings.TrimSuffix(line, "\n"), err == nil
}

// next is the next change of a kind.
func next[T any](c *changes) T {
	var data, id string
	for {
		line, more := c.line()
		if !more {
			data = ""
			for time.Sleep(c.pause); !c.open(); time.Sleep(c.pause) {
			}
			continue
		}
		field, value, _ := strings.Cut(line, ": ")
		switch {
		case field == "data":
			data = value
		case field == "id":
			id = value
		case field == "retry":
			c.pause = time.Duration(must(strconv.Atoi(value))) * time.Millisecond
		case line == "" && data != "":
			// The id counts from here on only: what was cut off in between comes again.
			c.last = id
			var change be8.Change
			check(json.Unmarshal([]byte(data), &change))
			data = ""
			one := change.GetActualInstanceValue()
			c.seen = append(c.seen, one)
			if wanted, is := one.(T); is {
				return wanted
			}
		}
	}
}
