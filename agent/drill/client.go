package drill

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/ebbtide/ebbtide/agent"
)

// Client orders drills from the agent that listens on Socket.
type Client struct{ Socket string }

// ErrRefused is why there was no drill; what wraps it says what the agent said.
var ErrRefused = errors.New("the agent refused")

// Begin orders a drill, and follows the one that is under way if there is one: then the
// stream is attached. The order counts for nothing in that case. ctx bounds the stream,
// and not the drill.
func (c Client) Begin(ctx context.Context, order agent.DrillOrder) (*Stream, error) {
	body, err := json.Marshal(order)
	if err != nil {
		return nil, fmt.Errorf("encoding the order: %w", err)
	}
	return c.ask(ctx, http.MethodPost, bytes.NewReader(body))
}

// Attach follows the drill that is under way, or else the last one again.
func (c Client) Attach(ctx context.Context) (*Stream, error) {
	return c.ask(ctx, http.MethodGet, http.NoBody)
}

func (c Client) ask(ctx context.Context, method string, body io.Reader) (*Stream, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", c.Socket)
	}
	// The host is for the header only: a socket has none.
	request, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, body)
	if err != nil {
		return nil, fmt.Errorf("asking the agent: %w", err)
	}
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("asking the agent on socket %q: %w", c.Socket, err)
	}
	if response.StatusCode != http.StatusOK {
		defer func() { _ = response.Body.Close() }()
		text, _ := io.ReadAll(io.LimitReader(response.Body, maxOrder))
		return nil, fmt.Errorf("%w: %s", ErrRefused, strings.TrimSpace(string(text)))
	}
	return &Stream{
		Attached: response.Header.Get(attachedHeader) != "", body: response.Body, decoder: json.NewDecoder(response.Body),
	}, nil
}

// Stream is what happens in a drill, from its beginning.
type Stream struct {
	// Attached is true for a drill that was not begun by this client.
	Attached bool

	body    io.ReadCloser
	decoder *json.Decoder
}

// Next waits for the next event. It returns io.EOF when the drill has ended; another
// error means that the agent is not heard any more, or that ctx has ended.
func (s *Stream) Next() (agent.DrillEvent, error) {
	var event agent.DrillEvent
	err := s.decoder.Decode(&event)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("following the drill: %w", err)
	}
	return event, err
}

// Close ends the stream, and not the drill.
func (s *Stream) Close() error { return s.body.Close() }
