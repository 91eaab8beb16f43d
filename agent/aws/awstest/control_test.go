package awstest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// control sends a request to the control endpoint.
func control(t *testing.T, s *Server, method, target, body string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	s.Control().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body)))
	return w.Code, w.Body.String()
}

func TestControlDoesWhatTheMethodsDo(t *testing.T) {
	t.Parallel()
	s, clock := newWithClock(t)
	do := func(method, target, body string) Status {
		t.Helper()
		code, reply := control(t, s, method, target, body)
		var status Status
		if err := json.Unmarshal([]byte(reply), &status); code != http.StatusOK || err != nil {
			t.Fatalf("%s %s: %d %s", method, target, code, reply)
		}
		return status
	}

	if got := do("PUT", "/fault/connection-refused", ""); Fault(got.Fault) != ConnectionRefused || got.Effect != Blinds {
		t.Errorf("status after a fault: %+v", got)
	}
	if got := do("DELETE", "/fault", ""); got.Fault != "" || got.Endpoint != s.URL() {
		t.Errorf("status after the fault: %+v", got)
	}
	do("POST", "/clock?offset=-90s", "")
	if got := do("POST", "/interrupt?action=stop&notice=40s&after=10s", ""); !got.NoticeReadableAt.IsZero() {
		t.Errorf("the notice is readable at once: %+v", got)
	}
	clock.Advance(10 * time.Second)
	if r := get(t, s, "spot/instance-action"); r.body != `{"action": "stop", "time": "2026-11-22T11:59:20Z"}` {
		t.Errorf("the notice reads %q", r.body)
	}
	got := do("GET", "/status", "")
	if got.Requests["GET "+NoticePath] != 1 || got.PeakPer10s != 2 || !got.NoticeReadAt.Equal(noon.Add(10*time.Second)) {
		t.Errorf("status after a read: %+v", got)
	}
	if code, log := control(t, s, "GET", "/log", ""); code != 200 || strings.Count(log, `"path"`) != 2 {
		t.Errorf("log: %d %s", code, log)
	}
	key := token(t, s, 600)
	do("POST", "/expire-tokens", "")
	if r := must(t, s, http.MethodGet, NoticePath, tokenHeader, key); r.status != 401 {
		t.Errorf("with an expired token: %d, want 401", r.status)
	}
	do("POST", "/take-back", "")
	if r := get(t, s, "spot/instance-action"); r.status != 404 {
		t.Errorf("taken back: %d, want 404", r.status)
	}
	do("POST", "/interrupt", "")
	if r := get(t, s, "spot/instance-action"); !strings.Contains(r.body, "terminate") {
		t.Errorf("by default the notice reads %q", r.body)
	}
	do("PUT", "/item/autoscaling/target-lifecycle-state", "Terminated")
	if r := get(t, s, "autoscaling/target-lifecycle-state"); r.body != "Terminated" {
		t.Errorf("the item reads %q", r.body)
	}
	do("DELETE", "/item/autoscaling/target-lifecycle-state", "")
	if r := get(t, s, "autoscaling/target-lifecycle-state"); r.status != 404 {
		t.Errorf("the item removed: %d, want 404", r.status)
	}
	do("POST", "/rebalance", "")
	if r := get(t, s, "events/recommendations/rebalance"); r.body != `{"noticeTime": "2026-11-22T11:58:40Z"}` {
		t.Errorf("the recommendation reads %q", r.body)
	}
	do("POST", "/end-rebalance", "")
	if r := get(t, s, "events/recommendations/rebalance"); r.status != 404 {
		t.Errorf("the recommendation ended: %d, want 404", r.status)
	}
	do("POST", "/schedule/one?code=instance-stop&in=1h", "")
	do("POST", "/schedule/two?state=canceled", "")
	r := get(t, s, "events/maintenance/scheduled")
	for _, want := range []string{`"22 Nov 2026 12:58:40 GMT", "Code": "instance-stop"`, `"23 Nov 2026 11:58:40 GMT", "Code": "system-reboot"`, `"State": "canceled"`} {
		if !strings.Contains(r.body, want) {
			t.Errorf("the list reads %s, want %s in it", r.body, want)
		}
	}
	do("DELETE", "/schedule/one", "")
	do("DELETE", "/schedule/two", "")
	if r := get(t, s, "events/maintenance/scheduled"); r.body != "[]" {
		t.Errorf("the list reads %s, want none", r.body)
	}
	do("POST", "/target?after=10s", "")
	if r := get(t, s, "autoscaling/target-lifecycle-state"); r.status != 404 {
		t.Errorf("the target state, too early: %d, want 404", r.status)
	}
	do("POST", "/target?state=Standby", "")
	if r := get(t, s, "autoscaling/target-lifecycle-state"); r.body != "Standby" {
		t.Errorf("the target state is %q", r.body)
	}
	do("POST", "/end-target", "")
	if r := get(t, s, "autoscaling/target-lifecycle-state"); r.status != 404 {
		t.Errorf("the target state ended: %d, want 404", r.status)
	}
	if got := do("POST", "/reset", ""); len(got.Requests) != 0 {
		t.Errorf("requests after a reset: %v", got.Requests)
	}
}

func TestControlRefusesWhatItDoesNotUnderstand(t *testing.T) {
	t.Parallel()
	s := New(t)
	for target, want := range map[string]int{
		"PUT /fault/gremlins":            400,
		"POST /interrupt?notice=soon":    400,
		"POST /interrupt?after=soon":     400,
		"POST /clock?offset=a-bit":       400,
		"POST /rebalance?after=soon":     400,
		"POST /schedule/one?in=soon":     400,
		"POST /target?after=soon":        400,
		"GET /interrupt":                 405,
		"GET /latest/meta-data/instance": 404,
	} {
		method, path, _ := strings.Cut(target, " ")
		if code, reply := control(t, s, method, path, ""); code != want {
			t.Errorf("%s: %d %s, want %d", target, code, reply, want)
		}
	}
	if !s.NoticeReadableAt().IsZero() || s.Fault() != "" {
		t.Error("a request that was refused did something")
	}
}

func TestControlExplainsItself(t *testing.T) {
	t.Parallel()
	s := New(t)
	if code, help := control(t, s, "GET", "/", ""); code != 200 || help != ControlHelp {
		t.Errorf("help: %d %s", code, help)
	}
	_, list := control(t, s, "GET", "/faults", "")
	for _, f := range Faults() {
		if !strings.Contains(list, f.Doc()) {
			t.Errorf("the list of faults lacks %q", f)
		}
	}
}
