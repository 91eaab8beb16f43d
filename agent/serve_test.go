package agent

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/ebbtide/ebbtide/drain"
)

// ask returns the status code and the body that handler answers path with.
func ask(t *testing.T, handler http.Handler, method, path string) (int, string) {
	t.Helper()
	reply := httptest.NewRecorder()
	handler.ServeHTTP(reply, httptest.NewRequestWithContext(t.Context(), method, path, nil))
	result := reply.Result()
	defer result.Body.Close() //nolint:errcheck // a recorder's body cannot fail
	body, err := io.ReadAll(result.Body)
	if err != nil {
		t.Fatal(err)
	}
	return result.StatusCode, string(body)
}

func TestProbes(t *testing.T) {
	t.Parallel()
	pass := func(health *Health) { health.Set("node", nil, time.Now()) }
	cases := map[string]struct {
		path string
		tell func(*Health)
		code int
		body string
	}{
		"the process is alive before its loop turns": {"/healthz", func(*Health) {}, 200, "ok\n"},
		"the process is alive while its loop turns":  {"/healthz", func(h *Health) { h.Beat(time.Now()) }, 200, "ok\n"},
		"the process is alive without being ready":   {"/healthz", func(h *Health) { h.Set("node", errBroken, time.Now()) }, 200, "ok\n"},
		"the process is dead when its loop stands still": {
			"/healthz", func(h *Health) { h.Beat(time.Now().Add(-2 * time.Minute)) }, 503, "the agent's loop stands still\n",
		},
		"an agent that has not checked yet is not ready": {"/readyz", func(*Health) {}, 503, "[-] node: not checked yet\n"},
		"an agent that can do everything is ready":       {"/readyz", pass, 200, "[+] node: ok\n"},
		"an agent that cannot says why": {
			"/readyz", func(h *Health) { h.Set("node", errBroken, time.Now()) }, 503, "[-] node: connection refused\n",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			health, _ := newHealth()
			health.Expect("node", 0)
			c.tell(health)
			code, body := ask(t, Handler(health, prometheus.NewRegistry()), http.MethodGet, c.path)
			if code != c.code || body != c.body {
				t.Errorf("answered %d %q, want %d %q", code, body, c.code, c.body)
			}
		})
	}
}

// A probe may come before the agent has begun, and wants to know what it waits for.
func TestAnAgentThatHasNotBegunSaysSo(t *testing.T) {
	t.Parallel()
	health, _ := newHealth()
	code, body := ask(t, Handler(health, prometheus.NewRegistry()), http.MethodGet, "/readyz")
	if want := "[-] start: the agent has not begun its checks\n"; code != http.StatusServiceUnavailable || body != want {
		t.Errorf("answered %d %q, want 503 %q", code, body, want)
	}
}

// What it waits for is named from its first breath on, each check by itself.
func TestAnAgentThatBeginsNamesEveryCheckThatItWaitsFor(t *testing.T) {
	t.Parallel()
	play(t, nil, func(s *scene) {
		s.node.setFault(func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return ctx.Err()
		})
		s.source.say = func(ctx context.Context, _ time.Duration) ([]Sighting, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		s.begin()
		s.at(0)
		code, body := ask(s.T, Handler(s.agent.Health, prometheus.NewRegistry()), http.MethodGet, "/readyz")
		want := "[-] cordon-rehearsal: not checked yet\n[-] node: not checked yet\n" +
			"[-] permissions: not checked yet\n[-] source/test-spot: not checked yet\n"
		if code != http.StatusServiceUnavailable || body != want {
			s.Errorf("answered %d %q, want 503 %q", code, body, want)
		}
	})
}

func TestThePortServesNothingElse(t *testing.T) {
	t.Parallel()
	health, _ := newHealth()
	handler := Handler(health, prometheus.NewRegistry())
	for path, want := range map[string]int{"/": 404, "/debug/pprof/": 404, "/metrics/x": 404} {
		if code, _ := ask(t, handler, http.MethodGet, path); code != want {
			t.Errorf("%s is answered with %d, want %d", path, code, want)
		}
	}
	if code, _ := ask(t, handler, http.MethodPost, "/readyz"); code != http.StatusMethodNotAllowed {
		t.Errorf("a POST is answered with %d", code)
	}
}

// series scrapes registry and returns every series with its value; of a
// histogram its count.
func series(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	health, _ := newHealth()
	code, body := ask(t, Handler(health, registry), http.MethodGet, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("a scrape is answered with %d: %s", code, body)
	}
	values := map[string]float64{}
	for line := range strings.Lines(body) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "#" || strings.Contains(name, "_seconds_bucket{") || strings.HasSuffix(name, "_seconds_sum") {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatalf("reading %q: %v", line, err)
		}
		values[name] = value
	}
	return values
}

func TestEverySeriesIsBornAtZero(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	NewMetrics(registry, []Source{spot, other})
	want := map[string]float64{
		`ebbtide_notice_lead_seconds_count`:                                  0,
		`ebbtide_notice_to_cordon_seconds_count`:                             0,
		`ebbtide_drains_total{outcome="Drained"}`:                            0,
		`ebbtide_drains_total{outcome="Incomplete"}`:                         0,
		`ebbtide_drills_total{outcome="Drained"}`:                            0,
		`ebbtide_drills_total{outcome="Incomplete"}`:                         0,
		`ebbtide_advice_followed_total{outcome="Drained"}`:                   0,
		`ebbtide_advice_followed_total{outcome="Incomplete"}`:                0,
		`ebbtide_drain_duration_seconds_count`:                               0,
		`ebbtide_source_last_success_timestamp_seconds{source="test-other"}`: 0,
		`ebbtide_source_last_success_timestamp_seconds{source="test-spot"}`:  0,
		`ebbtide_source_blind_after_seconds{source="test-other"}`:            0,
		`ebbtide_source_blind_after_seconds{source="test-spot"}`:             0,
		`ebbtide_source_errors_total{source="test-other"}`:                   0,
		`ebbtide_source_errors_total{source="test-spot"}`:                    0,
		`ebbtide_node_interrupted`:                                           0,
	}
	for _, kind := range kinds {
		for _, source := range []string{"spot", "other"} {
			want[`ebbtide_notices_total{kind="`+string(kind)+`",source="test-`+source+`"}`] = 0
		}
	}
	for _, name := range []string{"drain_slack", "notice_to_first_told", "notice_to_last_told", "notice_to_last_gone"} {
		want["ebbtide_"+name+"_seconds_count"] = 0
	}
	for _, name := range []string{
		`pod_graces_total{grace="Full"}`, `pod_graces_total{grace="Shortened"}`, `pod_graces_total{grace="None"}`,
		"pods_told_late_total", "pod_retries_total",
	} {
		want["ebbtide_"+name] = 0
	}
	for _, verdict := range verdicts {
		want[`ebbtide_pod_calls_total{verdict="`+string(verdict)+`"}`] = 0
	}
	for _, path := range drain.Paths {
		want[`ebbtide_pods_total{path="`+string(path)+`"}`] = 0
		want[`ebbtide_drill_pods_total{path="`+string(path)+`"}`] = 0
		want[`ebbtide_advice_pods_total{path="`+string(path)+`"}`] = 0
	}
	for verb, code := range map[string]string{"GET": "200", "PATCH": "200", "POST": "201", "DELETE": "200"} {
		want[`ebbtide_api_requests_total{code="`+code+`",verb="`+verb+`"}`] = 0
		want[`ebbtide_api_requests_total{code="0",verb="`+verb+`"}`] = 0
	}
	if diff := cmp.Diff(want, series(t, registry)); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
	health, _ := newHealth()
	_, body := ask(t, Handler(health, registry), http.MethodGet, "/metrics")
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("the metrics' names and helps: %v, %v", problems, err)
	}
}

func TestADrainIsCounted(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		registry := prometheus.NewRegistry()
		s.agent.Metrics = NewMetrics(registry, s.agent.Sources)
		s.says(between(seenAt, 20*time.Second))
		check := func(want map[string]float64) {
			s.Helper()
			got := series(s.T, registry)
			for name, value := range want {
				if got[name] != value {
					s.Errorf("%s is %v, want %v", name, got[name], value)
				}
			}
		}
		s.begin()
		s.at(seenAt + 5*time.Second)
		check(map[string]float64{
			`ebbtide_notices_total{kind="SpotInterruption",source="test-spot"}`: 1,
			`ebbtide_notice_lead_seconds_count`:                                 1,
			`ebbtide_notice_to_cordon_seconds_count`:                            1,
			`ebbtide_drains_total{outcome="Drained"}`:                           1,
			`ebbtide_drains_total{outcome="Incomplete"}`:                        0,
			`ebbtide_drain_duration_seconds_count`:                              1,
			`ebbtide_pods_total{path="Evicted"}`:                                3,
			`ebbtide_node_interrupted`:                                          1,
			`ebbtide_source_errors_total{source="test-spot"}`:                   0,
			`ebbtide_source_last_success_timestamp_seconds{source="test-spot"}`: float64(time.Now().Unix()),
		})
		s.at(lapsedAt)
		check(map[string]float64{`ebbtide_node_interrupted`: 0, `ebbtide_drains_total{outcome="Drained"}`: 1})
	})
}

// answers is the far end of a client: a status code, or no reply.
type answers int

func (a answers) RoundTrip(*http.Request) (*http.Response, error) {
	if a == 0 {
		return nil, errBroken
	}
	return &http.Response{StatusCode: int(a), Body: http.NoBody}, nil
}

func TestRequestsAreCountedByVerbAndCode(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	metrics := NewMetrics(registry, nil)
	for _, far := range []answers{200, 429, 429, 0} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://nowhere.invalid", nil)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := metrics.CountRequests(far).RoundTrip(request)
		if far == 0 {
			if !errors.Is(err, errBroken) {
				t.Errorf("the error came through as %v", err)
			}
			continue
		}
		if err != nil || reply.StatusCode != int(far) {
			t.Fatalf("the reply came through as %v, %v", reply, err)
		}
		_ = reply.Body.Close()
	}
	got := series(t, registry)
	for code, want := range map[string]float64{"200": 1, "429": 2, "0": 1} {
		if n := got[`ebbtide_api_requests_total{code="`+code+`",verb="POST"}`]; n != want {
			t.Errorf("%v requests with code %s are counted, want %v", n, code, want)
		}
	}
}
