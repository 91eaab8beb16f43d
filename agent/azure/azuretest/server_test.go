package azuretest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

const (
	eventsQuery = EventsPath + "?api-version=2020-07-01"
	nameQuery   = NamePath + "?api-version=2021-02-01&format=text"
)

// ask sends a request with the header that the service wants; body is sent by POST.
func ask(t *testing.T, s *Server, target, body string, change func(http.Header)) (status int, answer string) {
	t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL()+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Metadata", "true")
	if change != nil {
		change(r.Header)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it is read to its end
	read, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(read)
}

// eventsOf is the list as a client reads it.
func eventsOf(t *testing.T, s *Server) (incarnation int, events []document) {
	t.Helper()
	status, body := ask(t, s, eventsQuery, "", nil)
	var list struct {
		DocumentIncarnation int
		Events              []document
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil || status != http.StatusOK {
		t.Fatalf("the list is %d %q: %v", status, body, err)
	}
	if list.Events == nil {
		t.Errorf("the list is %q, and the real one is never null", body)
	}
	return list.DocumentIncarnation, list.Events
}

func TestARequestThatIsNotMeantIsRefused(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	tests := map[string]struct {
		target, body string
		change       func(http.Header)
		want         int
	}{
		"a list without the header":     {eventsQuery, "", func(h http.Header) { h.Del("Metadata") }, http.StatusBadRequest},
		"a list through a proxy":        {eventsQuery, "", func(h http.Header) { h.Set("X-Forwarded-For", "192.0.2.1") }, http.StatusBadRequest},
		"a list of no version":          {EventsPath, "", nil, http.StatusBadRequest},
		"a name of no version":          {NamePath, "", nil, http.StatusBadRequest},
		"a name as JSON":                {NamePath + "?api-version=2021-02-01", "", nil, http.StatusBadRequest},
		"another path":                  {"/latest/meta-data", "", nil, http.StatusNotFound},
		"a name to write":               {NamePath + "?api-version=2020-07-01", "x", nil, http.StatusMethodNotAllowed},
		"an event that is not there":    {eventsQuery, `{"StartRequests": [{"EventId": "8"}]}`, nil, http.StatusBadRequest},
		"a start of nothing":            {eventsQuery, `{}`, nil, http.StatusBadRequest},
		"a start that is none":          {eventsQuery, `<html>`, nil, http.StatusBadRequest},
		"a list as it should be is not": {eventsQuery, "", nil, http.StatusOK},
		"a name as it should be is not": {nameQuery, "", nil, http.StatusOK},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, body := ask(t, s, tc.target, tc.body, tc.change)
			if status != tc.want || (status != http.StatusOK && !strings.HasPrefix(body, `{"error":`)) {
				t.Errorf("it answers %d %q, want %d", status, body, tc.want)
			}
		})
	}
}

func TestTheListChangesWithItsEvents(t *testing.T) {
	t.Parallel()
	s := New(t, Options{Machine: "vmss_7"})
	before, events := eventsOf(t, s)
	if again, _ := eventsOf(t, s); len(events) > 0 || again != before {
		t.Errorf("without events the list is %+v in incarnation %d, and then %d", events, before, again)
	}
	s.Schedule(Event{ID: "7", Type: "Freeze", Duration: 5 * time.Second, NotBefore: time.Date(2026, 4, 11, 22, 26, 58, 0, time.UTC)})
	s.Schedule(Event{ID: "8", Type: "Reboot", Resources: []string{"vmss_8"}, Duration: -1})
	want := []document{
		{
			EventID: "7", EventStatus: "Scheduled", EventType: "Freeze", ResourceType: "VirtualMachine", Resources: []string{"vmss_7"},
			NotBefore: "Sat, 11 Apr 2026 22:26:58 GMT", Description: "Made up for a test.", EventSource: "Platform", DurationInSeconds: 5,
		},
		{
			EventID: "8", EventStatus: "Scheduled", EventType: "Reboot", ResourceType: "VirtualMachine", Resources: []string{"vmss_8"},
			Description: "Made up for a test.", EventSource: "Platform", DurationInSeconds: -1,
		},
	}
	second, events := eventsOf(t, s)
	if diff := cmp.Diff(want, events); diff != "" || second <= before {
		t.Errorf("in incarnation %d after %d (-want +got):\n%s", second, before, diff)
	}
	s.Begin("7")
	want[0].EventStatus, want[0].NotBefore = "Started", ""
	third, events := eventsOf(t, s)
	if diff := cmp.Diff(want, events); diff != "" || third <= second {
		t.Errorf("in incarnation %d after %d (-want +got):\n%s", third, second, diff)
	}
	s.Remove("7")
	s.Remove("8")
	if fourth, events := eventsOf(t, s); len(events) > 0 || fourth <= third {
		t.Errorf("in incarnation %d after %d: %+v", fourth, third, events)
	}
}

func TestAnEventThatComesAgainIsScheduled(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	s.Schedule(Event{ID: "7", Type: "Preempt"})
	if status, body := ask(t, s, eventsQuery, `{"StartRequests": [{"EventId": "7"}]}`, nil); status != http.StatusOK || body != "" {
		t.Errorf("a start is answered with %d %q", status, body)
	}
	if diff := cmp.Diff([]string{"7"}, s.Requested()); diff != "" {
		t.Errorf("asked to start (-want +got):\n%s", diff)
	}
	if _, events := eventsOf(t, s); events[0].EventStatus != started {
		t.Errorf("after the start it is %q", events[0].EventStatus)
	}
	s.Remove("7")
	s.Schedule(Event{ID: "7", Type: "Preempt"})
	if _, events := eventsOf(t, s); events[0].EventStatus != scheduled {
		t.Errorf("anew it is %q", events[0].EventStatus)
	}
}

func TestEachFaultOfMomentsShowsItself(t *testing.T) {
	t.Parallel()
	at := time.Now().Add(time.Minute).UTC().Truncate(time.Second)
	past := func(moment string) bool {
		read, err := http.ParseTime(moment)
		return err == nil && time.Since(read) > 59*time.Minute
	}
	for fault, right := range map[metadatatest.Fault]func(moment string) bool{
		UnreadableTime: func(moment string) bool { return moment == "in a little while" },
		NoTime:         func(moment string) bool { return moment == "" },
		OtherTime:      func(moment string) bool { return moment == at.Format(time.RFC3339) },
		PastTime:       past,
	} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			s := New(t, Options{})
			s.Schedule(Event{ID: "7", Type: "Preempt", NotBefore: at})
			if err := s.SetFault(fault); err != nil {
				t.Fatal(err)
			}
			if _, events := eventsOf(t, s); !right(events[0].NotBefore) {
				t.Errorf("the moment is %q", events[0].NotBefore)
			}
		})
	}
}

func TestAnUpdateRefusesEverything(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	if err := s.SetFault(Updating); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{eventsQuery, nameQuery} {
		if status, body := ask(t, s, target, "", nil); status != http.StatusGone {
			t.Errorf("%s answers %d %q", target, status, body)
		}
	}
}

func TestASleeperKeepsTheListBack(t *testing.T) {
	t.Parallel()
	s := New(t, Options{Asleep: time.Hour})
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+eventsQuery, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Metadata", "true")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	if response, err := transport.RoundTrip(r); err == nil {
		t.Errorf("while asleep it answers %s", response.Status)
		_ = response.Body.Close()
	}
	// The name tells that the service is there.
	if status, body := ask(t, s, nameQuery, "", nil); status != http.StatusOK || body != Machine {
		t.Errorf("the name is %d %q", status, body)
	}
	s.WakeUp()
	if _, events := eventsOf(t, s); len(events) > 0 {
		t.Errorf("once awake it answers %+v", events)
	}
}
