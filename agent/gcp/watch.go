package gcp

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
)

// least is the time from one request to the next where the server does not
// hold requests, or fails: emulators answer a long poll at once, without end.
const least = time.Second

// lookAgain is how long the value of a key is taken from long polls alone. A plain
// GET between them is the safety net for a server that mistakes what has changed.
const lookAgain = time.Minute

// watch reads one key by long poll. It is not safe for concurrent use.
type watch struct {
	client *client
	path   string
	// optional says that some instances do not have the key.
	optional bool
	// none is the value that announces nothing; known tells it and the values that
	// announce something from all else, and what names them.
	none  string
	known func(value string) bool
	what  string
	// second is how long the server's second lasts, and pause is least; tests
	// shorten them.
	second, pause time.Duration

	etag   string        // stands for value; empty: the next poll looks
	value  string        // the one last read; empty: none since a failure
	said   string        // the one last read, before a failure as well
	asked  time.Time     // when the last request was sent
	rest   time.Duration // from then on until the next
	looked time.Time     // when a plain GET last came well
	calm   time.Time     // when the key last said none
	since  time.Time     // when it ceased to; zero: nobody saw it
}

// watchPace is that of a long poll: one begins when the other ends, but for a
// breath after those that are answered at once. A poll may rest, hang as
// long as the client lets it, and then ask what that means.
var watchPace = agent.Pace{
	Every:      200 * time.Millisecond,
	Timeout:    (holdSeconds + 3) * time.Second,
	BlindAfter: blindAfter,
}

func newWatch(o Options, w watch) (watch, error) {
	var err error
	w.client, err = newClient(o)
	w.second, w.pause = time.Second, least
	return w, err
}

// next is the key's value: at once if it is not known, else when it changes or
// the server has held the request long enough. A key that is optional and not
// there is none, with an empty reply.
func (w *watch) next(ctx context.Context) (metadata.Reply, error) {
	if err := pause(ctx, time.Until(w.asked.Add(w.rest))); err != nil {
		return metadata.Reply{}, &metadata.ReadError{Method: http.MethodGet, Path: w.path, Err: err}
	}
	held := w.etag != "" && time.Since(w.looked) < lookAgain
	w.asked = time.Now()
	var reply metadata.Reply
	var err error
	if held {
		reply, err = w.client.wait(ctx, w.path, w.etag, holdSeconds*w.second)
	} else {
		reply, err = w.client.look(ctx, w.path, "")
	}
	if metadata.Answered(err, http.StatusNotFound) {
		return metadata.Reply{}, w.missing(ctx, err)
	}
	if err != nil {
		w.fail()
		return reply, err
	}
	if value := word(reply.Body); !w.known(value) {
		w.fail()
		return reply, reply.Unreadable(w.what, errValue)
	}
	w.take(reply, held)
	return reply, nil
}

// errValue is a reply that is none of the key's values.
var errValue = errors.New("not a value of this key")

// word is a value without what no one means by it.
func word(body []byte) string { return strings.ToUpper(strings.TrimSpace(string(body))) }

// missing decides what a 404 means.
func (w *watch) missing(ctx context.Context, err error) error {
	if w.optional {
		err = w.client.believe(ctx)
	} else {
		err = w.client.hidden(ctx, err)
	}
	if err != nil {
		w.fail()
		return err
	}
	w.etag, w.value, w.said, w.calm, w.since = "", w.none, w.none, time.Now(), time.Time{}
	w.rest = holdSeconds * w.pause // it appears by a change of the instance, not all at once
	return nil
}

// fail makes the next poll look, after a rest, and believe nothing it was told
// before. When the key said none is not forgotten.
func (w *watch) fail() {
	w.etag, w.value, w.rest = "", "", w.pause
	w.client.known.Lose()
}

// take takes in a reply.
func (w *watch) take(reply metadata.Reply, held bool) {
	now, value := time.Now(), word(reply.Body)
	took, hold := now.Sub(w.asked), holdSeconds*w.second
	// A request that ends before its time, and not at once, has been woken.
	woken := held && took > w.second/4 && took < hold
	w.rest = 0
	if w.etag = reply.Header.Get("ETag"); w.etag == "" || held && took < hold/2 && value == w.value {
		w.rest = w.pause
	}
	if !held {
		w.looked = now
	}
	switch {
	case value == w.none:
		w.calm, w.since = now, time.Time{}
	case value == w.said: // since then, if anyone saw that
	case woken:
		w.since = now
	default:
		w.since = w.calm // it was after that, and nobody knows how long
	}
	w.value, w.said = value, value
}

// turned completes a sighting of the key's value: where somebody saw the key turn,
// its moment is reckoned to be nominal after that, on the clock of whoever sent the
// reply. It is reckoned on our monotonic clock, so that a Date of whole seconds
// moves it by no more than that.
func (w *watch) turned(reply metadata.Reply, nominal time.Duration, s agent.Sighting) agent.Sighting {
	s.ServerTime, s.Nominal, s.Raw = reply.Date, nominal, metadata.Cut(reply.Body, agent.MaxRaw)
	if w.since.IsZero() {
		return s
	}
	now := reply.Date
	if now.IsZero() {
		now = time.Now()
	}
	s.At, s.AtKind = now.Add(nominal-time.Since(w.since)), agent.Estimated
	return s
}

// Pace implements agent.Source.
func (w *watch) Pace() agent.Pace { return watchPace }

// Provider implements agent.Source.
func (w *watch) Provider() string { return provider }

// Close gives up the connection. The source may be used again.
func (w *watch) Close() { w.client.http.Close() }

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
