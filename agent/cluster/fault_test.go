package cluster

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/ebbtide/ebbtide/agent"
)

// always answers everything so.
func always(response func() *http.Response) fault {
	return func(*http.Request) (*http.Response, error) { return response(), nil }
}

// refuses answers everything with a Status.
func refuses(code int, reason metav1.StatusReason, message string) fault {
	return always(func() *http.Response { return status(code, reason, message) })
}

// ofWatches is f, for watches alone: a list is answered.
func ofWatches(f fault) fault {
	return func(r *http.Request) (*http.Response, error) {
		if r.URL.Query().Get("watch") != "true" {
			return nil, nil
		}
		return f(r)
	}
}

// streams answers with a watch that says text, and ends if ends is true.
func streams(text string, ends bool) fault {
	return func(r *http.Request) (*http.Response, error) {
		body := &stream{ctx: r.Context(), wake: make(chan struct{}, 1), closed: func() {}}
		body.write([]byte(text))
		if ends {
			body.end(nil)
		}
		return reply(http.StatusOK, body), nil
	}
}

// breaks answers nothing.
func breaks(err error) fault { return func(*http.Request) (*http.Response, error) { return nil, err } }

// faults are what can stand between a Source and its Node.
var faults = map[string]struct {
	fault fault
	want  string // is in the error
	// seen is true where a list still shows a notice.
	seen bool
}{
	"the token is refused":          {refuses(401, metav1.StatusReasonUnauthorized, "Unauthorized"), "Unauthorized", false},
	"the role does not grant it":    {refuses(403, metav1.StatusReasonForbidden, "nodes is forbidden"), "forbidden", false},
	"the role grants no watch":      {ofWatches(refuses(403, metav1.StatusReasonForbidden, "cannot watch nodes")), "cannot watch", true},
	"there is no such path":         {refuses(404, metav1.StatusReasonNotFound, "the server has no such resource"), "resource", false},
	"every version is too old":      {ofWatches(refuses(410, metav1.StatusReasonExpired, "too old resource version")), "too old", true},
	"every version expires at once": {ofWatches(streams(string(event("ERROR", refusal(410, metav1.StatusReasonExpired, "too old"))), false)), "too old", true},
	"there are too many requests":   {always(func() *http.Response { return retryLater(429) }), "too many", false},
	"the server breaks":             {refuses(500, metav1.StatusReasonInternalError, "etcd has no leader"), "no leader", false},
	"the server goes":               {always(func() *http.Response { return retryLater(503) }), "unable", false},
	"nobody listens":                {breaks(syscall.ECONNREFUSED), "refused", false},
	"the connection ends":           {breaks(io.EOF), "EOF", false},
	"a watch cannot be opened":      {ofWatches(breaks(io.EOF)), "ended at once", true},
	"a watch ends at once":          {ofWatches(streams("", true)), "ended at once", true},
	"nobody answers":                {hang, "no answer within 5s", false},
	"nobody answers a watch":        {ofWatches(hang), "", true},
	"a page for people":             {always(func() *http.Response { return text("text/html", "<html>\n<h1>Sign in</h1>\n") }), "", false},
	"garbage":                       {always(func() *http.Response { return text(runtime.ContentTypeJSON, "\x00\xff{]") }), "", false},
	"nothing":                       {always(func() *http.Response { return text(runtime.ContentTypeJSON, "") }), "", false},
	"half an answer": {always(func() *http.Response {
		return text(runtime.ContentTypeJSON, `{"kind":"NodeList","apiVersion":"v1","items":[{"meta`)
	}), "", false},
	"a list of other things": {always(func() *http.Response {
		return text(runtime.ContentTypeJSON, `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"}}`)
	}), "", false},
	"a list of no version": {always(func() *http.Response { return text(runtime.ContentTypeJSON, `{"kind":"NodeList","apiVersion":"v1"}`) }), "no resource version", false},
	"a list of no Node": {always(func() *http.Response {
		return text(runtime.ContentTypeJSON, `{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"7"}}`)
	}), "no such node", false},
	"a list of another Node":         {always(func() *http.Response { return text(runtime.ContentTypeJSON, another) }), "no such node", false},
	"a watch of garbage":             {ofWatches(streams("\x00\xff{]\n", false)), "decode", true},
	"a watch of half an event":       {ofWatches(streams(`{"type":"MODIFIED","object":{"kind":"No`, true)), "ended at once", true},
	"a watch of other things":        {ofWatches(streams(`{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1"}}`+"\n", false)), "Pod", true},
	"an error that nobody can place": {refuses(500, "", "one line\n\n<p>and\ranother</p>"), "one line <p>and another</p>", false},
}

const another = `{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"node-2"}}]}`

// some is a number below most, and another in each run.
func some[T int | time.Duration](most T) T { return rand.N(most) } //nolint:gosec // no secret

// retryLater is a refusal that says how long to wait; longer than is good for a notice.
func retryLater(code int) *http.Response {
	reason, message := metav1.StatusReasonTooManyRequests, "too many requests"
	if code == http.StatusServiceUnavailable {
		reason, message = metav1.StatusReasonServiceUnavailable, "unable to handle the request"
	}
	response := status(code, reason, message)
	response.Header.Set("Retry-After", "600")
	return response
}

// hang holds a request for as long as somebody waits.
func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestAFaultIsNeitherCalmNorAnAlarm(t *testing.T) {
	t.Parallel()
	circumstances := map[string]struct{ warm, notice bool }{
		"from the start":               {},
		"from the start, with notice":  {notice: true},
		"after good polls":             {warm: true},
		"after good polls with notice": {warm: true, notice: true},
	}
	for fault, f := range faults {
		for when, c := range circumstances {
			t.Run(fault+" "+when, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					server := newAPIServer()
					s := server.source(t)
					if c.warm {
						says(t, s)
					}
					server.have(f.fault)
					server.cut(nil)
					if c.notice {
						server.change(byKarpenter)
					}
					server.asked()
					began := time.Now()
					endure(t, s, f.want, c.notice && f.seen)
					if most := 3 * (1 + int(time.Since(began)/firstRest)); len(server.asked()) > most {
						t.Errorf("more than %d requests in %v", most, time.Since(began))
					}
					server.have(nil)
					server.change(byAutoscaler)
					says(t, s, taken(scaledIn))
				})
			})
		}
	}
}

// endure polls under a fault. Each poll says one line of error, of which the last has
// want in it, or the notice if that can be seen.
func endure(t *testing.T, s *Source, want string, seen bool) {
	t.Helper()
	told, last := 0, ""
	for range 6 {
		got, err := poll(t.Context(), s)
		if err == nil {
			if told++; !seen || len(got) != 1 {
				t.Fatalf("it says %+v under the fault", got)
			}
			continue
		}
		if last = err.Error(); strings.ContainsAny(last, "\r\n") || !strings.HasPrefix(last, `watching node "node-1": `) {
			t.Errorf("%q is not one line that says what was being done", last)
		}
	}
	// All but one, for which a new watch looked well where the last one had ended.
	if seen && told < 5 {
		t.Errorf("%d of 6 polls tell the notice, and one says %q", told, last)
	}
	if !seen && !strings.Contains(last, want) {
		t.Errorf("it says %q, want %q", last, want)
	}
}

func TestFailuresRestLongerEachTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newAPIServer()
		server.have(breaks(syscall.ECONNREFUSED))
		s := server.source(t)
		for range 20 {
			if _, err := poll(t.Context(), s); err == nil {
				t.Fatal("there is an API server")
			}
		}
		asked := server.asked()
		for i := 1; i < len(asked); i++ {
			rest := min(firstRest<<(i-1), longestRest)
			if i > 5 {
				rest = longestRest
			}
			if got := asked[i].at.Sub(asked[i-1].at); got < rest || got > rest+rest/spreads {
				t.Errorf("request %d comes after %v, want %v and up to a fifth more", i, got, rest)
			}
		}
		server.have(nil)
		says(t, s)
		server.have(breaks(syscall.ECONNREFUSED))
		server.cut(nil)
		server.asked()
		for range 2 {
			if _, err := poll(t.Context(), s); err == nil {
				t.Fatal("there is an API server")
			}
		}
		// A watch where the last one ended, a list at once, and another after a rest.
		if asked = server.asked(); len(asked) != 3 || asked[2].at.Sub(asked[1].at) > 2*firstRest {
			t.Errorf("after a success it still asks only so: %+v", asked)
		}
	})
}

// The longest time without a success is what BlindAfter has to bear.
func TestAMinuteWithoutAnAPIServerIsNoBlindness(t *testing.T) {
	t.Parallel()
	for range 20 { // outages that begin anywhere in a hold, with rests of any spread
		synctest.Test(t, func(t *testing.T) {
			server := newAPIServer()
			s := server.source(t)
			success, longest, fails := time.Now(), time.Duration(0), 0
			after(time.Minute+some(time.Minute), func() {
				server.have(breaks(syscall.ECONNREFUSED))
				server.cut(nil)
				after(time.Minute, func() { server.have(nil) })
			})
			for began := time.Now(); time.Since(began) < 5*time.Minute; <-time.After(pace.Every) {
				if _, err := poll(t.Context(), s); err != nil {
					fails++
					continue
				}
				longest, success = max(longest, time.Since(success)), time.Now()
			}
			if fails == 0 || longest < time.Minute/2 {
				t.Fatalf("after %d failures the longest blindness is %v: there was no outage", fails, longest)
			}
			if longest > pace.BlindAfter*3/4 {
				t.Errorf("it is blind for %v, and must not come near %v", longest, pace.BlindAfter)
			}
		})
	}
}

func TestALongOutageIsBlindness(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newAPIServer()
		s := server.source(t)
		says(t, s)
		server.have(hang)
		server.cut(nil)
		for began := time.Now(); time.Since(began) < pace.BlindAfter; {
			if got, err := poll(t.Context(), s); err == nil {
				t.Fatalf("it says %+v", got)
			}
		}
	})
}

// An API server that has lost its store holds its watches and tells of nothing.
func TestASilentServerIsFoundOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newAPIServer()
		s := server.source(t)
		began := time.Now()
		says(t, s)
		server.have(refuses(500, metav1.StatusReasonInternalError, "context deadline exceeded"))
		for {
			got, err := poll(t.Context(), s)
			if err != nil {
				break
			}
			if len(got) > 0 || time.Since(began) > 2*provenFor {
				t.Fatalf("after %v it says %+v", time.Since(began), got)
			}
		}
		if took := time.Since(began); took > provenFor+provenFor/spreads+holdFor {
			t.Errorf("it takes %v", took)
		}
	})
}

// Hours of faults in any order, each for a while, with a notice between them.
func TestFlappingLeavesNothingBehindAndMissesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newAPIServer()
		s := server.source(t)
		names := make([]string, 0, len(faults))
		for name := range faults {
			names = append(names, name)
		}
		began, flaps := time.Now(), 0
		for ; time.Since(began) < 6*time.Hour; flaps++ {
			slices.Sort(names)
			name := names[some(len(names))]
			server.have(faults[name].fault)
			server.cut(nil)
			under, stop := context.WithTimeout(t.Context(), some(time.Minute))
			for under.Err() == nil {
				if got, err := s.Poll(under); err == nil && len(got) > 0 {
					t.Fatalf("under %q it says %+v", name, got)
				}
			}
			stop()
			server.have(nil)
			settled(t, s)
			server.change(byKarpenter)
			says(t, s, taken())
			server.change(untainted)
			settled(t, s)
			if open := server.watched(); open != 1 {
				t.Fatalf("after %q %d watches are open, want one", name, open)
			}
		}
		if flaps < 100 {
			t.Errorf("%d faults in %v", flaps, time.Since(began))
		}
		s.Close()
		if open := server.watched(); open > 0 {
			t.Errorf("%d watches are left", open)
		}
	})
}

// settled polls until the Source says none, which it must within a rest or two.
func settled(t *testing.T, s *Source) {
	t.Helper()
	var got []agent.Sighting
	var err error
	for range 3 {
		if got, err = poll(t.Context(), s); err == nil && len(got) == 0 {
			return
		}
	}
	t.Fatalf("without a fault and a notice it says %+v and %v", got, err)
}
