package metadatatest

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// waves is a route that a fake adds.
func (c *cloud) waves() Route {
	return Route{
		Pattern: "POST /wave/{name}", Usage: "POST   /wave/NAME", Doc: "a wave",
		Do: func(r *http.Request) error {
			if name := r.PathValue("name"); name != "high" {
				return errors.New("no wave is " + name)
			}
			c.Announce(Notice{Name: "wave"})
			return nil
		},
	}
}

// control sends a request to the control endpoint.
func (c *cloud) control(t *testing.T, request string) (int, string) {
	t.Helper()
	method, target, _ := strings.Cut(request, " ")
	w := httptest.NewRecorder()
	c.Control(c.waves()).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, target, http.NoBody))
	return w.Code, w.Body.String()
}

func TestControlDoesWhatTheMethodsAndTheRoutesDo(t *testing.T) {
	t.Parallel()
	clock := NewClock(noon)
	c := newCloud(t, Options{Now: clock.Now})
	do := func(request string) (status Status) {
		t.Helper()
		code, reply := c.control(t, request)
		if err := json.Unmarshal([]byte(reply), &status); code != http.StatusOK || err != nil {
			t.Fatalf("%s: %d %s", request, code, reply)
		}
		return status
	}
	if got := do("POST /wave/high"); !got.NoticeReadableAt.Equal(noon) {
		t.Errorf("status after a route of the fake's: %+v", got)
	}
	if got := do("PUT /fault/forbidden"); got.Fault != Forbidden || got.Effect != Blinds || !got.NoticeReadableAt.IsZero() {
		t.Errorf("status under a fault: %+v", got)
	}
	clock.Advance(time.Second)
	if got := do("DELETE /fault"); got.Fault != "" || !got.NoticeReadableAt.Equal(noon.Add(time.Second)) || got.Endpoint != c.URL() {
		t.Errorf("status after the fault: %+v", got)
	}
	do("POST /clock?offset=1h")
	if r := c.must(t, itemPath); r.body != "at 13:00:00" {
		t.Errorf("the cloud's clock says %q", r.body)
	}
	if got := do("GET /status"); got.Requests["GET "+itemPath] != 1 || got.PeakPer10s != 1 {
		t.Errorf("status after a request: %+v", got)
	}
	if code, log := c.control(t, "GET /log"); code != 200 || strings.Count(log, `"path"`) != 1 {
		t.Errorf("log: %d %s", code, log)
	}
	if got := do("POST /reset"); len(got.Requests) != 0 {
		t.Errorf("requests after a reset: %v", got.Requests)
	}
}

func TestControlRefusesWhatItDoesNotUnderstand(t *testing.T) {
	t.Parallel()
	c := newCloud(t, Options{})
	for request, want := range map[string]int{
		"PUT /fault/gremlins": 400, "POST /wave/low": 400, "POST /clock?offset=a-bit": 400,
		"GET /wave/high": 405, "GET /item": 404,
	} {
		if code, reply := c.control(t, request); code != want {
			t.Errorf("%s: %d %s, want %d", request, code, reply, want)
		}
	}
}

func TestControlExplainsItself(t *testing.T) {
	t.Parallel()
	c := newCloud(t, Options{})
	_, help := c.control(t, "GET /")
	for _, want := range []string{"GET    /status  ", "POST   /wave/NAME ", "a wave\n", "PUT    /fault/NAME ", "DELETE /fault "} {
		if !strings.Contains(help, want) {
			t.Errorf("the help lacks %q:\n%s", want, help)
		}
	}
	_, list := c.control(t, "GET /faults")
	for _, row := range c.Faults() {
		if !strings.Contains(list, row.Doc) {
			t.Errorf("the list of faults lacks %q", row.Fault)
		}
	}
}
