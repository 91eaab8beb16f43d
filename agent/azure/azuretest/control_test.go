package azuretest

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTheFakeIsToldOverHTTP(t *testing.T) {
	t.Parallel()
	s := New(t, Options{Asleep: time.Hour})
	control := s.Control()
	tell := func(method, target string, want int) {
		t.Helper()
		w := httptest.NewRecorder()
		control.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, target, http.NoBody))
		if w.Code != want {
			t.Errorf("%s %s answers %d %s, want %d", method, target, w.Code, w.Body, want)
		}
	}
	tell(http.MethodPost, "/wake-up", http.StatusOK)
	tell(http.MethodPut, "/event/7?type=Freeze&for=9s&notice=1h", http.StatusOK)
	tell(http.MethodPut, "/event/8", http.StatusOK)
	tell(http.MethodPut, "/event/9?after=1h", http.StatusOK)
	tell(http.MethodPost, "/begin/8", http.StatusOK)
	tell(http.MethodPut, "/event/7?notice=soon", http.StatusBadRequest)
	tell(http.MethodPut, "/event/7?after=soon", http.StatusBadRequest)
	tell(http.MethodPut, "/event/7?for=long", http.StatusBadRequest)
	tell(http.MethodPut, "/fault/updating", http.StatusOK)
	tell(http.MethodDelete, "/fault", http.StatusOK)

	type seen struct {
		ID, Type, Status string
		Seconds          int
	}
	var got []seen
	_, events := eventsOf(t, s)
	for _, e := range events {
		got = append(got, seen{e.EventID, e.EventType, e.EventStatus, e.DurationInSeconds})
	}
	want := []seen{{"7", "Freeze", "Scheduled", 9}, {"8", "Preempt", "Started", -1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the list (-want +got):\n%s", diff)
	}
	at, err := http.ParseTime(events[0].NotBefore)
	if left := time.Until(at); err != nil || left < 59*time.Minute || left > time.Hour {
		t.Errorf("the freeze is in %s, want an hour: %v", left, err)
	}
	tell(http.MethodDelete, "/event/7", http.StatusOK)
	if _, events := eventsOf(t, s); len(events) != 1 {
		t.Errorf("after a removal the list is %+v", events)
	}
}
