package metadata_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/agent/metadata"
)

// patience is a bound that nothing on a loaded machine reaches.
const patience = 30 * time.Second

// serve starts a server that answers by handler, and returns where it is.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func newClient(t *testing.T, o metadata.Options) *metadata.Client {
	t.Helper()
	if o.Step == 0 {
		o.Step = patience
	}
	client, err := metadata.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// readError is err as the *ReadError that it must be.
func readError(t *testing.T, err error) *metadata.ReadError {
	t.Helper()
	read, ok := errors.AsType[*metadata.ReadError](err)
	if !ok {
		t.Fatalf("error is %v (%T), want a *ReadError", err, err)
	}
	return read
}

func TestAQuestionIsSentAsItIsAsked(t *testing.T) {
	t.Parallel()
	var got []string
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, r.Method+" "+r.URL.String()+" "+r.Header.Get("Metadata")+" "+
			r.Header.Get("Content-Type")+" "+string(body))
		w.Header().Set("Etag", "abc")
		w.Header().Set("Date", "Sun, 22 Nov 2026 10:00:00 GMT")
		_, _ = io.WriteString(w, "FALSE")
	})
	client := newClient(t, metadata.Options{Endpoint: url + "/", Header: http.Header{"Metadata": {"true"}}})

	reply, err := client.Get(t.Context(), "/instance/preempted")
	if err != nil {
		t.Fatal(err)
	}
	if reply.Path != "/instance/preempted" || string(reply.Body) != "FALSE" || reply.Header.Get("Etag") != "abc" ||
		!reply.Date.Equal(time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)) {
		t.Errorf("reply is %+v", reply)
	}
	for _, ask := range []metadata.Request{
		{Path: "/events", Query: "api-version=2020-07-01", Header: http.Header{"metadata": {"yes"}}},
		{Method: http.MethodPost, Path: "/events", Body: `{"a": 1}`},
		{Method: http.MethodPut, Path: "/token"},
	} {
		if _, err := client.Do(t.Context(), ask); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"GET /instance/preempted true  ", "GET /events?api-version=2020-07-01 yes  ",
		`POST /events true application/json {"a": 1}`, "PUT /token true  ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestOnlyA200IsAnAnswer(t *testing.T) {
	t.Parallel()
	for _, status := range []int{201, 204, 301, 302, 307, 400, 401, 403, 404, 410, 429, 500, 503, 599} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			asked := 0
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				asked++
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(status)
			})
			_, err := newClient(t, metadata.Options{Endpoint: url}).Get(t.Context(), "/item")
			read := readError(t, err)
			if read.Status != status || read.Method != http.MethodGet || read.Path != "/item" || read.Err != nil {
				t.Errorf("error is %#v", read)
			}
			if !metadata.Answered(err, status) || metadata.Answered(err, 200) {
				t.Errorf("%v does not count as an answer of %d alone", err, status)
			}
			if asked != 1 {
				t.Errorf("%d requests were sent, want one: no redirect is followed and nothing retried", asked)
			}
		})
	}
}

func TestAReplyIsReadUpTo64KiB(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status, size int
		ok           bool
	}{
		"as much as that":                   {200, metadata.MaxReply, true},
		"not a byte more":                   {200, metadata.MaxReply + 1, false},
		"nor of the page of a refusal":      {404, 8 << 20, false},
		"which is an answer if it is short": {404, metadata.MaxReply, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				_, _ = w.Write(make([]byte, tc.size))
			})
			reply, err := newClient(t, metadata.Options{Endpoint: url}).Get(t.Context(), "/item")
			switch {
			case tc.status == 404:
				if metadata.Answered(err, 404) != tc.ok {
					t.Errorf("error is %v, want an answer: %t", err, tc.ok)
				}
			case tc.ok:
				if err != nil || len(reply.Body) != tc.size {
					t.Errorf("%d bytes, %v; want all %d", len(reply.Body), err, tc.size)
				}
			default:
				if read := readError(t, err); read.Status != 200 || !strings.Contains(read.Error(), "200 OK: more than 64 KiB") {
					t.Errorf("error is %v", read)
				}
			}
		})
	}
}

// stall answers nothing more until the test ends.
func stall(t *testing.T) (wait func(*http.Request)) {
	t.Helper()
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended) })
	return func(r *http.Request) {
		select {
		case <-ended:
		case <-r.Context().Done():
		}
	}
}

func TestEachStepIsBounded(t *testing.T) {
	t.Parallel()
	const short = 50 * time.Millisecond
	// A server's cleanup waits for its handlers, so stall's, which ends them, must
	// come first: it is asked for last.
	head := func(t *testing.T) string {
		t.Helper()
		var wait func(*http.Request)
		url := serve(t, func(_ http.ResponseWriter, r *http.Request) { wait(r) })
		wait = stall(t)
		return url
	}
	body := func(t *testing.T) string {
		t.Helper()
		var wait func(*http.Request)
		url := serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "{")
			_ = http.NewResponseController(w).Flush()
			wait(r)
		})
		wait = stall(t)
		return url
	}
	for name, tc := range map[string]struct {
		server  func(*testing.T) string
		options metadata.Options
		within  time.Duration // of the context
		status  int
	}{
		"the head by the step":              {head, metadata.Options{Step: short}, patience, 0},
		"the head by the wait, if it's set": {head, metadata.Options{Step: patience, Wait: short}, patience, 0},
		"the head by the context":           {head, metadata.Options{Step: patience}, short, 0},
		"the body by the context":           {body, metadata.Options{Step: patience}, short, 200},
		"the body by the step":              {body, metadata.Options{Step: short, Wait: patience}, patience, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.options.Endpoint = tc.server(t)
			tc.options.Hints = []metadata.Hint{{Fault: metadata.Unanswered, Text: "silence"}}
			ctx, stop := context.WithTimeout(t.Context(), tc.within)
			defer stop()
			_, err := newClient(t, tc.options).Get(ctx, "/item")
			read := readError(t, err)
			if network, ok := errors.AsType[net.Error](err); !ok || !network.Timeout() {
				t.Errorf("error is %v, want a timeout", err)
			}
			if read.Status != tc.status || (read.Hint == "silence") != (tc.status == 0) {
				t.Errorf("error is %#v", read)
			}
		})
	}
}

func TestAPollThatIsCalledOffSaysSo(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	client := newClient(t, metadata.Options{Endpoint: url})
	for _, when := range []string{"while it waits", "before it begins"} {
		if _, err := client.Get(ctx, "/item"); !errors.Is(err, context.Canceled) || readError(t, err).Status != 0 {
			t.Errorf("%s: error is %v, want one that wraps context.Canceled", when, err)
		}
	}
}

func TestOneConnectionIsKept(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"after answers": 200, "after refusals": 404} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				_, _ = w.Write(make([]byte, 10_000))
			})
			client := newClient(t, metadata.Options{Endpoint: url})
			dialled := 0
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
				if !info.Reused {
					dialled++
				}
			}})
			for range 5 {
				_, _ = client.Get(ctx, "/item")
			}
			if dialled != 1 {
				t.Errorf("5 questions took %d connections, want one", dialled)
			}
		})
	}
}

func TestNoProxyIsUsed(t *testing.T) {
	t.Parallel()
	// An address that net/http would send through a proxy, unlike 127.0.0.1, and
	// that still stays on this machine.
	endpoint := strings.Replace(serve(t, func(http.ResponseWriter, *http.Request) {}), "127.0.0.1", "0.0.0.0", 1)
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: target}); err != nil || proxy == nil {
		t.Fatalf("the environment sets no proxy for %s, so this test shows nothing (%v)", endpoint, err)
	}
	if _, err := newClient(t, metadata.Options{Endpoint: endpoint}).Get(t.Context(), "/item"); err != nil {
		t.Error(err)
	}
}

func TestNewClientRefusesOptionsItCannotUse(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]metadata.Options{
		"no endpoint":              {Step: time.Second},
		"an endpoint with a path":  {Endpoint: "http://127.0.0.1/latest", Step: time.Second},
		"a step without a bound":   {Endpoint: nowhere},
		"a step below nothing":     {Endpoint: nowhere, Step: -1},
		"a wait below nothing":     {Endpoint: nowhere, Step: 1, Wait: -1},
		"a default that is no URL": {Default: "metadata", Step: time.Second},
	} {
		if _, err := metadata.NewClient(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := metadata.NewClient(metadata.Options{Default: nowhere, Step: time.Second}); err != nil {
		t.Errorf("with a default and no endpoint: %v", err)
	}
}

func TestATraceTellsWhatAClientLosesOnTheWayUp(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", "Sun, 22 Nov 2026 10:00:00 GMT")
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusForbidden)
		}
	})
	transport := metadata.NewTransport(patience, patience)
	t.Cleanup(transport.Close)
	ctx, trace := metadata.WithTrace(t.Context())
	send := func(ctx context.Context, method, target string) {
		request, err := http.NewRequestWithContext(ctx, method, target, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := transport.HTTPClient().Do(request); err == nil {
			_ = answer.Body.Close()
		}
	}
	send(ctx, http.MethodPut, url+"/token?x=1")
	send(t.Context(), http.MethodGet, url+"/untraced")
	send(ctx, http.MethodGet, url+"/item")
	send(ctx, http.MethodGet, nowhere+"/item")

	date := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	want := []metadata.Exchange{
		{Method: "PUT", Path: "/token", Status: 403, Date: date},
		{Method: "GET", Path: "/item", Status: 200, Date: date},
		{Method: "GET", Path: "/item"},
	}
	var got []metadata.Exchange
	for _, x := range trace.Exchanges {
		got = append(got, *x)
	}
	if len(got) == 3 && got[2].Err != nil {
		got[2].Err = nil
	} else {
		t.Error("the request that reached nothing has no error")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("exchanges (-want +got):\n%s", diff)
	}
}
