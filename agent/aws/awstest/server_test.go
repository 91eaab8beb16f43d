package awstest

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is when the clock of a test starts.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func newWithClock(t *testing.T) (*Server, *metadatatest.Clock) {
	t.Helper()
	c := metadatatest.NewClock(noon)
	s, err := start(Options{}, c.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, c
}

// response is what a client got.
type response struct {
	status int
	body   string
	header http.Header
}

// send makes one request on a connection of its own.
func send(t *testing.T, s *Server, method, path string, header ...string) (response, error) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	return sendWithin(ctx, t, s, method, path, header...)
}

func sendWithin(ctx context.Context, t *testing.T, s *Server, method, path string, header ...string) (response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, s.URL()+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{DisableKeepAlives: true}
	client := http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := client.Do(r)
	if err != nil {
		return response{}, err
	}
	defer answer.Body.Close() //nolint:errcheck // read to its end below
	body, err := io.ReadAll(answer.Body)
	return response{answer.StatusCode, string(body), answer.Header}, err
}

// must sends and wants an answer.
func must(t *testing.T, s *Server, method, path string, header ...string) response {
	t.Helper()
	r, err := send(t, s, method, path, header...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

// token fetches a token for that many seconds.
func token(t *testing.T, s *Server, seconds int) string {
	t.Helper()
	r := must(t, s, http.MethodPut, TokenPath, ttlHeader, strconv.Itoa(seconds))
	if r.status != http.StatusOK {
		t.Fatalf("fetching a token: %d", r.status)
	}
	return r.body
}

// get reads an item below meta-data with a fresh token.
func get(t *testing.T, s *Server, item string) response {
	t.Helper()
	return must(t, s, http.MethodGet, "/latest/meta-data/"+item, tokenHeader, token(t, s, 60))
}

func TestTokenIsHandedOutAsTheProtocolSays(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		method, path string
		header       []string
		want         int
	}{
		"for a second":                   {http.MethodPut, TokenPath, []string{ttlHeader, "1"}, 200},
		"for six hours":                  {http.MethodPut, TokenPath, []string{ttlHeader, "21600"}, 200},
		"not for no time":                {http.MethodPut, TokenPath, []string{ttlHeader, "0"}, 400},
		"not for more than six hours":    {http.MethodPut, TokenPath, []string{ttlHeader, "21601"}, 400},
		"not for more than a number has": {http.MethodPut, TokenPath, []string{ttlHeader, "99999999999999"}, 400},
		"not without a lifetime":         {http.MethodPut, TokenPath, nil, 400},
		"not for a word":                 {http.MethodPut, TokenPath, []string{ttlHeader, "long"}, 400},
		"not through a proxy":            {http.MethodPut, TokenPath, []string{ttlHeader, "60", "X-Forwarded-For", "10.0.0.1"}, 403},
		"not on a path with a version":   {http.MethodPut, "/2021-03-23/api/token", []string{ttlHeader, "60"}, 403},
		"not by GET":                     {http.MethodGet, TokenPath, []string{ttlHeader, "60"}, 405},
		"not by POST":                    {http.MethodPost, TokenPath, []string{ttlHeader, "60"}, 405},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := must(t, New(t), tc.method, tc.path, tc.header...)
			if r.status != tc.want {
				t.Fatalf("status %d, want %d", r.status, tc.want)
			}
			if tc.want == 200 && (len(r.body) != 56 || r.header.Get(ttlHeader) != tc.header[1]) {
				t.Errorf("token %q for %q seconds, want 56 characters for %s", r.body, r.header.Get(ttlHeader), tc.header[1])
			}
		})
	}
}

func TestItemsNeedATokenThatIsAlive(t *testing.T) {
	t.Parallel()
	s, clock := newWithClock(t)
	const path = "/latest/meta-data/instance-id"
	short, long := token(t, s, 10), token(t, s, 60)
	want := func(when, token string, status int) {
		t.Helper()
		var header []string
		if token != "" {
			header = []string{tokenHeader, token}
		}
		if r := must(t, s, http.MethodGet, path, header...); r.status != status {
			t.Errorf("%s: status %d, want %d", when, r.status, status)
		}
	}
	want("without a token", "", 401)
	want("with a token made up", "bogus", 401)
	want("with a token", short, 200)
	clock.Advance(9 * time.Second)
	want("a second before the end", short, 200)
	clock.Advance(time.Second)
	want("at the end", short, 401)
	want("with a token that lives longer", long, 200)
	s.ExpireTokens()
	want("when all tokens were voided", long, 401)
	want("with a new token", token(t, s, 10), 200)
}

func TestItems(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		path   string
		status int
		body   string
	}{
		"the instance's id":                     {"/latest/meta-data/instance-id", 200, "i-0ebb71de0ebb71de0"},
		"its zone":                              {"/latest/meta-data/placement/availability-zone", 200, "eu-central-1a"},
		"its life cycle":                        {"/latest/meta-data/instance-life-cycle", 200, "spot"},
		"an older version":                      {"/2021-03-23/meta-data/instance-life-cycle", 200, "spot"},
		"a list of scheduled events":            {"/latest/meta-data/events/maintenance/scheduled", 200, "[]"},
		"no interruption":                       {"/latest/meta-data/spot/instance-action", 404, ""},
		"no termination":                        {"/latest/meta-data/spot/termination-time", 404, ""},
		"no rebalance recommendation":           {"/latest/meta-data/events/recommendations/rebalance", 404, ""},
		"no lifecycle state":                    {"/latest/meta-data/autoscaling/target-lifecycle-state", 404, ""},
		"the names in a folder":                 {"/latest/meta-data/placement/", 200, "availability-zone\navailability-zone-id\nregion"},
		"the names at the top":                  {"/latest/meta-data/", 200, "events/\ninstance-id\ninstance-life-cycle\ninstance-type\nplacement/"},
		"nothing under a name that is not one":  {"/latest/meta-data/spot", 404, ""},
		"nothing that merely begins like one":   {"/latest/meta-database/instance-id", 404, ""},
		"nothing outside of the metadata":       {"/latest/user-data", 404, ""},
		"nothing in a version that is not one":  {"/newest/meta-data/instance-id", 404, ""},
		"nothing at the root (not modelled)":    {"/", 404, ""},
		"nothing below an item that has no end": {"/latest/meta-data/instance-id/x", 404, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := New(t)
			r := must(t, s, http.MethodGet, tc.path, tokenHeader, token(t, s, 60))
			if r.status != tc.status || (tc.status == 200 && r.body != tc.body) {
				t.Errorf("%d %q, want %d %q", r.status, r.body, tc.status, tc.body)
			}
			if tc.status == 404 && !strings.Contains(r.body, "404 - Not Found") {
				t.Errorf("the page of a 404 is %q", r.body)
			}
			if got := r.header.Get("Server"); got != "EC2ws" {
				t.Errorf("Server is %q", got)
			}
		})
	}
}

func TestItemsCanBeScripted(t *testing.T) {
	t.Parallel()
	s := New(t)
	const item, value = "events/recommendations/rebalance", `{"noticeTime": "2026-11-22T12:00:00Z"}`
	s.SetItem(item, value)
	if r := get(t, s, item); r.status != 200 || r.body != value || r.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %q %q, want the item as JSON", r.status, r.body, r.header.Get("Content-Type"))
	}
	s.RemoveItem(item)
	if r := get(t, s, item); r.status != 404 {
		t.Errorf("status %d once removed, want 404", r.status)
	}
	if r := must(t, s, http.MethodHead, "/latest/meta-data/instance-id", tokenHeader, token(t, s, 60)); r.status != 200 || r.body != "" {
		t.Errorf("HEAD: %d %q, want 200 without a body", r.status, r.body)
	}
	if r := must(t, s, http.MethodPost, "/latest/meta-data/instance-id", tokenHeader, token(t, s, 60)); r.status != 405 {
		t.Errorf("POST: %d, want 405", r.status)
	}
}

func TestConnectionsServeOneRequestUnlessToldOtherwise(t *testing.T) {
	t.Parallel()
	for name, keep := range map[string]bool{"by default": false, "with KeepAlive": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Start(Options{KeepAlive: keep})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+NoticePath, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			transport := &http.Transport{}
			t.Cleanup(transport.CloseIdleConnections)
			answer, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if answer.Close == keep {
				t.Errorf("the server closes the connection: %t", answer.Close)
			}
		})
	}
}

func TestStartSaysWhyItCannotListen(t *testing.T) {
	t.Parallel()
	addr := strings.TrimPrefix(New(t).URL(), "http://")
	if _, err := Start(Options{Listen: addr}); err == nil || !strings.Contains(err.Error(), strconv.Quote(addr)) {
		t.Errorf("error is %v, want one that names %q", err, addr)
	}
}

func TestAClosedServerIsGone(t *testing.T) {
	t.Parallel()
	s := New(t)
	s.Close()
	s.Close()
	if _, err := send(t, s, http.MethodGet, NoticePath); err == nil {
		t.Error("it still answers")
	}
	if err := s.SetFault(Forbidden); err == nil {
		t.Error("SetFault returned no error")
	}
	if err := s.ClearFault(); err == nil {
		t.Error("ClearFault returned no error")
	}
}

func TestRequestsAreCounted(t *testing.T) {
	t.Parallel()
	s, clock := newWithClock(t)
	key := token(t, s, 600)
	for range 3 {
		must(t, s, http.MethodGet, NoticePath, tokenHeader, key)
		clock.Advance(time.Second)
	}
	want := map[string]int{"PUT " + TokenPath: 1, "GET " + NoticePath: 3}
	if diff := cmp.Diff(want, s.Requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	for window, want := range map[time.Duration]int{
		time.Second: 2, 1001 * time.Millisecond: 3, 2 * time.Second: 3, time.Minute: 4,
	} {
		if got := s.Peak(window); got != want {
			t.Errorf("Peak(%s) = %d, want %d", window, got, want)
		}
	}
	log := s.Log()
	wantLast := Request{At: noon.Add(2 * time.Second), Method: http.MethodGet, Path: NoticePath, Status: 404}
	if diff := cmp.Diff(wantLast, log[len(log)-1]); diff != "" {
		t.Errorf("last request (-want +got):\n%s", diff)
	}
	s.ResetRequests()
	if len(s.Requests()) != 0 || s.Peak(time.Minute) != 0 || len(s.Log()) != 0 {
		t.Error("ResetRequests left something")
	}
}
