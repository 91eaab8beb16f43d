package metadatatest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// noon is when the clock of a test starts.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// The paths of the cloud of these tests.
const (
	itemPath   = "/item"
	noticePath = "/notice"
	tokenPath  = "/token"
	// waitPath holds a request until there is a notice, or for holdFor.
	waitPath = "/wait"
)

// holdFor is long enough never to be over in a test that does not wait for it.
const holdFor = time.Hour

// cloud is a service with one item, a token and a notice, also by long poll.
type cloud struct {
	*Server
	holds time.Duration
	voids int // how often its tokens were voided
}

func (c *cloud) Answer(ask Ask) Reply {
	switch ask.URL.Path {
	case tokenPath:
		answer := Text("token")
		answer.Role = TokenRole
		return answer
	case noticePath, waitPath:
		sample := JSON(`{"end": "soon"}`)
		answer := Reply{Status: http.StatusNoContent}
		for _, n := range ask.Notices() {
			text, _ := n.Content.(string)
			answer.Status, answer.Body = http.StatusOK, answer.Body+text
			answer.Tells = append(answer.Tells, n.Name)
		}
		if left := c.holds - ask.Now.Sub(ask.Since); ask.URL.Path == waitPath && len(answer.Tells) == 0 {
			answer.Hold = max(left, 0)
		}
		answer.Role, answer.Sample = NoticeRole, &sample
		return answer
	}
	return Text("at " + ask.Cloud(noon).Format(time.TimeOnly))
}

func (c *cloud) Refuse(status int) Reply {
	return Reply{Status: status, Kind: "text/plain", Body: "no"}
}

func (c *cloud) VoidTokens() { c.voids++ }

func newCloud(t *testing.T, o Options) *cloud {
	t.Helper()
	c := &cloud{holds: holdFor}
	o.Faults = append(Common(), Tokens()...)
	var err error
	if c.Server, err = Start(c, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// response is what a client got.
type response struct {
	status int
	body   string
	date   string
}

// ask makes one request on a connection of its own.
func (c *cloud) ask(t *testing.T, path string) (response, error) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL()+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		return response{}, err
	}
	defer answer.Body.Close() //nolint:errcheck // read to its end below
	body, err := io.ReadAll(answer.Body)
	return response{answer.StatusCode, string(body), answer.Header.Get("Date")}, err
}

func (c *cloud) must(t *testing.T, path string) response {
	t.Helper()
	r, err := c.ask(t, path)
	if err != nil {
		t.Fatalf("asking for %s: %v", path, err)
	}
	return r
}

func TestACloudSpeaksForItselfWithItsOwnClock(t *testing.T) {
	t.Parallel()
	clock := NewClock(noon)
	c := newCloud(t, Options{Now: clock.Now})
	c.SetClockOffset(-90 * time.Second)
	if r := c.must(t, itemPath); r.body != "at 11:58:30" || r.date != "Sun, 22 Nov 2026 11:58:30 GMT" {
		t.Errorf("it says %q on %q", r.body, r.date)
	}
}

func TestSeveralNoticesStandSideBySide(t *testing.T) {
	t.Parallel()
	clock := NewClock(noon)
	c := newCloud(t, Options{Now: clock.Now})
	says := func(when, want string) {
		t.Helper()
		if r := c.must(t, noticePath); r.body != want {
			t.Errorf("%s: %q, want %q", when, r.body, want)
		}
	}
	c.Announce(Notice{Name: "a", Content: "A"})
	c.Announce(Notice{Name: "b", Content: "B", From: noon.Add(10 * time.Second), Until: noon.Add(20 * time.Second)})
	says("at first", "A")
	if at := c.NoticeReadableAt(); !at.IsZero() {
		t.Errorf("the second is readable since %s, before its time", at)
	}
	clock.Advance(10 * time.Second)
	says("when the second appears", "AB")
	if at := c.NoticeReadAt(); !at.Equal(noon.Add(10 * time.Second)) {
		t.Errorf("the second was first read at %s", at)
	}
	c.Announce(Notice{Name: "a", Content: "C"})
	says("when the first was replaced", "BC")
	clock.Advance(10 * time.Second)
	says("when the second has vanished", "C")
	c.WithdrawAfter("a", time.Second)
	c.WithdrawAfter("nothing", time.Second)
	says("before the first goes", "C")
	clock.Advance(time.Second)
	says("when it has gone", "")
	c.Withdraw("a")
	if at := c.NoticeReadAt(); !at.IsZero() {
		t.Errorf("a notice that never was counts as read at %s", at)
	}
}

// hold sends a request that is held, and returns once the server has it.
func (c *cloud) hold(t *testing.T, arrived <-chan struct{}) <-chan string {
	t.Helper()
	answered := make(chan string, 1)
	go func() {
		r, err := c.ask(t, waitPath)
		if err != nil {
			r.body = err.Error()
		}
		answered <- r.body
	}()
	select {
	case <-arrived:
	case <-time.After(10 * time.Second):
		t.Fatal("the request did not arrive")
	}
	return answered
}

// cutOff is what becomes of a request whose connection ends.
const cutOff = "cut off"

func TestAHeldRequestIsAnsweredWhenSomethingChanges(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(t *testing.T, c *cloud)
		want   string
	}{
		"a notice": {func(_ *testing.T, c *cloud) { c.Announce(Notice{Name: "a", Content: "A"}) }, "A"},
		"a notice by time": {func(_ *testing.T, c *cloud) {
			c.Announce(Notice{Name: "a", Content: "A", From: c.Now().Add(50 * time.Millisecond)})
		}, "A"},
		"anything else": {func(_ *testing.T, c *cloud) { c.Update(func() { c.holds = 0 }) }, ""},
		"a fault": {func(t *testing.T, c *cloud) {
			t.Helper()
			if err := c.SetFault(Forbidden); err != nil {
				t.Error(err)
			}
		}, "no"},
		"a closed port": {func(t *testing.T, c *cloud) {
			t.Helper()
			if err := c.SetFault(ConnectionRefused); err != nil {
				t.Error(err)
			}
		}, cutOff},
		"the end of the server": {func(_ *testing.T, c *cloud) { c.Close() }, cutOff},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arrived := make(chan struct{}, 1)
			c := newCloud(t, Options{Arrived: func(r Request) {
				if r.Path == waitPath {
					arrived <- struct{}{}
				}
			}})
			answered := c.hold(t, arrived)
			tc.change(t, c)
			select {
			case body := <-answered:
				if tc.want == cutOff && (strings.HasSuffix(body, "EOF") || strings.Contains(body, "reset by peer")) {
					return
				}
				if body != tc.want {
					t.Errorf("it was answered %q, want %q", body, tc.want)
				}
			case <-time.After(10 * time.Second):
				t.Error("it is still held")
			}
		})
	}
}

func TestAHeldRequestIsAnsweredWhenItsTimeIsOver(t *testing.T) {
	t.Parallel()
	c := newCloud(t, Options{})
	const short = 50 * time.Millisecond
	c.Update(func() { c.holds = short })
	began := time.Now()
	if r := c.must(t, waitPath); r.status != http.StatusNoContent || time.Since(began) < short {
		t.Errorf("it was answered %d after %s, want 204 after %s", r.status, time.Since(began), short)
	}
}

func TestAClientThatHangsUpIsHeldNoLonger(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{}, 1)
	c := newCloud(t, Options{Arrived: func(Request) { arrived <- struct{}{} }})
	ctx, hangUp := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL()+waitPath, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	go func() {
		<-arrived
		hangUp()
	}()
	if answer, err := transport.RoundTrip(r); !errors.Is(err, context.Canceled) {
		_ = answer.Body.Close()
		t.Errorf("the request ended with %v", err)
	}
	c.handlers.Wait() // or this test never ends
}

func TestTheLogTellsWhatWasAskedAndAnswered(t *testing.T) {
	t.Parallel()
	clock := NewClock(noon)
	c := newCloud(t, Options{Now: clock.Now})
	c.must(t, itemPath+"?a=1")
	clock.Advance(time.Second)
	if err := c.SetFault(Unavailable); err != nil {
		t.Fatal(err)
	}
	c.must(t, noticePath)
	want := []Request{
		{At: noon, Method: "GET", Path: itemPath, Query: "a=1", Status: 200},
		{At: noon.Add(time.Second), Method: "GET", Path: noticePath, Status: 503, Fault: Unavailable},
	}
	if diff := cmp.Diff(want, c.Log()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"GET " + itemPath: 1, "GET " + noticePath: 1}, c.Requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	for window, want := range map[time.Duration]int{time.Second: 1, 1001 * time.Millisecond: 2} {
		if got := c.Peak(window); got != want {
			t.Errorf("Peak(%s) = %d, want %d", window, got, want)
		}
	}
	c.ResetRequests()
	if len(c.Requests()) != 0 || c.Peak(time.Minute) != 0 || len(c.Log()) != 0 {
		t.Error("ResetRequests left something")
	}
}

func TestTheLogIsBoundedAndTheCountsAreNot(t *testing.T) {
	t.Parallel()
	var traffic traffic
	traffic.reset()
	for range keptRequests + 1 {
		traffic.add(&Request{Method: "GET", Path: "/"})
	}
	if got := traffic.counts["GET /"]; got != keptRequests+1 {
		t.Errorf("%d requests counted, want %d", got, keptRequests+1)
	}
	if got := len(traffic.log); got > keptRequests || got < keptRequests/2 {
		t.Errorf("%d requests kept, want between %d and %d", got, keptRequests/2, keptRequests)
	}
}

func TestConnectionsAreCounted(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}, 2), make(chan struct{})
	c := newCloud(t, Options{KeepAlive: true, Arrived: func(Request) { arrived <- struct{}{}; <-release }})
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	var clients sync.WaitGroup
	for range 2 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL()+itemPath, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		clients.Go(func() {
			answer, err := transport.RoundTrip(r)
			if err != nil {
				t.Error(err)
				return
			}
			_ = answer.Body.Close()
		})
	}
	<-arrived
	<-arrived
	if n := c.Connections(); n != 2 {
		t.Errorf("%d connections are open, want 2", n)
	}
	close(release)
	clients.Wait()
}
