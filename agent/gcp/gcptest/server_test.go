package gcptest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

type reply struct {
	status             int
	body, etag, flavor string
}

// ask sends a GET with headers, which are names and values in turn.
func ask(t *testing.T, s *Server, target string, headers ...string) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+target, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	transport := &http.Transport{DisableKeepAlives: true}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // it is read to its end
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{answer.StatusCode, string(body), answer.Header.Get("ETag"), answer.Header.Get(flavor)}
}

// get asks as a client of Google's does.
func get(t *testing.T, s *Server, target string) reply {
	t.Helper()
	return ask(t, s, target, flavor, google)
}

func TestKeysAreThereForWhoeverMeansToAsk(t *testing.T) {
	t.Parallel()
	s := New(t)
	for name, tc := range map[string]struct {
		target  string
		headers []string
		status  int
		body    string
	}{
		"a preemption":             {PreemptedPath, []string{flavor, google}, 200, "FALSE"},
		"a maintenance event":      {MaintenancePath, []string{flavor, google}, 200, "NONE"},
		"planned maintenance":      {UpcomingPath + "?alt=json", []string{flavor, google}, 200, "{}"},
		"an id":                    {Root + "id", []string{flavor, google}, 200, "4520031799277581759"},
		"nothing that isn't there": {Root + "attributes/x", []string{flavor, google}, 404, ""},
		"nothing elsewhere":        {"/latest/meta-data/", []string{flavor, google}, 404, ""},
		"not without the header":   {PreemptedPath, nil, 403, ""},
		"not by another flavor":    {PreemptedPath, []string{flavor, "Amazon"}, 403, ""},
		"not through a proxy":      {PreemptedPath, []string{flavor, google, "X-Forwarded-For", "192.0.2.1"}, 403, ""},
		"not for a time of no use": {PreemptedPath + "?wait_for_change=true&timeout_sec=x", []string{flavor, google}, 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ask(t, s, tc.target, tc.headers...)
			if got.status != tc.status || tc.status == 200 && got.body != tc.body || got.flavor != google {
				t.Errorf("reply is %+v, want %d %q", got, tc.status, tc.body)
			}
		})
	}
}

func TestARequestIsHeldUntilTheValueChanges(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{}, 10)
	s, err := Start(Options{Arrived: func(r metadatatest.Request) {
		if r.Query != "" {
			arrived <- struct{}{}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	calm := get(t, s, PreemptedPath)
	for name, query := range map[string]string{
		"that the client knows": "?wait_for_change=true&timeout_sec=60&last_etag=" + calm.etag,
		"whatever it is":        "?wait_for_change=true",
	} {
		go func() {
			<-arrived
			s.Preempt(0)
		}()
		got := get(t, s, PreemptedPath+query)
		if got.body != "TRUE" || got.etag == calm.etag || got.etag == "" {
			t.Errorf("%s: %+v", name, got)
		}
		s.TakeBack()
	}
	if got := get(t, s, PreemptedPath); got != calm {
		t.Errorf("after it was taken back: %+v, want %+v", got, calm)
	}
	s.Preempt(0)
	if got := get(t, s, PreemptedPath+"?wait_for_change=true&timeout_sec=60&last_etag="+calm.etag); got.body != "TRUE" {
		t.Errorf("a change that came before the request: %+v", got)
	}
}

func TestAHeldRequestEndsWithItsTime(t *testing.T) {
	t.Parallel()
	s, err := Start(Options{Second: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	calm := get(t, s, PreemptedPath)
	began := time.Now()
	got := get(t, s, PreemptedPath+"?wait_for_change=true&timeout_sec=5&last_etag="+calm.etag)
	if took := time.Since(began); got != calm || took < 100*time.Millisecond || took > 10*time.Second {
		t.Errorf("after %s: %+v, want the value as it was", took, got)
	}
}

func TestNoticesComeAndGo(t *testing.T) {
	t.Parallel()
	s := New(t)
	s.SetClockOffset(time.Hour)
	at := time.Now().Add(48 * time.Hour)
	s.Maintain(0, "MIGRATE")
	s.Plan(0, "PENDING", at)
	if got := get(t, s, MaintenancePath); got.body != "MIGRATE_ON_HOST_MAINTENANCE" {
		t.Errorf("maintenance event is %+v", got)
	}
	var document map[string]string
	if err := json.Unmarshal([]byte(get(t, s, UpcomingPath).body), &document); err != nil {
		t.Fatal(err)
	}
	if got, want := document["window_start_time"], at.Add(time.Hour).UTC().Format(time.RFC3339); got != want {
		t.Errorf("the window starts at %s, want %s by the cloud's clock", got, want)
	}
	if s.NoticeReadAt().IsZero() {
		t.Error("no one has read the plan")
	}
	s.EndMaintenance()
	s.Unplan()
	if a, b := get(t, s, MaintenancePath).body, get(t, s, UpcomingPath).body; a != "NONE" || b != "{}" {
		t.Errorf("after the end: %q and %q", a, b)
	}
	s.Preempt(time.Hour)
	if got := get(t, s, PreemptedPath).body; got != "FALSE" {
		t.Errorf("an hour before a preemption: %q", got)
	}
}

func TestFaultsOfThisCloud(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault  metadatatest.Fault
		target string
		want   reply // without a page
	}{
		"GKE hides a preemption":        {HiddenKeys, PreemptedPath, reply{status: 404, flavor: google}},
		"and shows who the machine is":  {HiddenKeys, Root + "zone", reply{status: 200, flavor: google}},
		"some have no maintenance":      {NoMaintenance, MaintenancePath, reply{status: 404, flavor: google}},
		"and are preempted nonetheless": {NoMaintenance, PreemptedPath, reply{status: 200, flavor: google}},
		"nothing was received":          {NothingReceived, UpcomingPath, reply{status: 503, flavor: google}},
		"a stranger has no flavor":      {OtherFlavor, PreemptedPath, reply{status: 200}},
		"a wait is ignored":             {IgnoredWait, PreemptedPath + "?wait_for_change=true", reply{status: 200, flavor: google}},
		"an ETag is left out":           {NoETag, PreemptedPath, reply{status: 200, flavor: google}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := New(t)
			if err := s.SetFault(tc.fault); err != nil {
				t.Fatal(err)
			}
			got := get(t, s, tc.target)
			if (got.etag == "") != (got.status != 200 || tc.fault == NoETag) {
				t.Errorf("ETag is %q", got.etag)
			}
			if got.body, got.etag = "", ""; got != tc.want {
				t.Errorf("reply is %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestControlDoesWhatTheMethodsDo(t *testing.T) {
	t.Parallel()
	s := New(t)
	do := func(method, target, body string, want int) {
		t.Helper()
		w := httptest.NewRecorder()
		s.Control().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body)))
		if w.Code != want {
			t.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
		}
	}
	for _, step := range []struct {
		method, target, body string
		path, want           string
	}{
		{"POST", "/preempt", "", PreemptedPath, "TRUE"},
		{"POST", "/take-back", "", PreemptedPath, "FALSE"},
		{"POST", "/preempt?after=1h", "", PreemptedPath, "FALSE"},
		{"POST", "/maintain", "", MaintenancePath, "TERMINATE_ON_HOST_MAINTENANCE"},
		{"POST", "/maintain?action=MIGRATE", "", MaintenancePath, "MIGRATE_ON_HOST_MAINTENANCE"},
		{"POST", "/end-maintenance", "", MaintenancePath, "NONE"},
		{"PUT", "/key/preempted", "MAYBE", PreemptedPath, "MAYBE"},
		{"DELETE", "/key/preempted", "", PreemptedPath, "FALSE"},
		{"POST", "/unplan", "", UpcomingPath, "{}"},
	} {
		do(step.method, step.target, step.body, http.StatusOK)
		if got := get(t, s, step.path).body; got != step.want {
			t.Errorf("after %s %s: %q, want %q", step.method, step.target, got, step.want)
		}
	}
	do("POST", "/plan?status=ONGOING&in=1h", "", http.StatusOK)
	if got := get(t, s, UpcomingPath).body; !strings.Contains(got, `"ONGOING"`) {
		t.Errorf("planned is %q", got)
	}
	do("POST", "/plan?in=soon", "", http.StatusBadRequest)
	do("POST", "/preempt?after=soon", "", http.StatusBadRequest)
	if !strings.Contains(ControlHelp, "/plan?status=PENDING&in=24h&after=0s") {
		t.Errorf("help is %s", ControlHelp)
	}
}
