package azure_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/azure"
	"github.com/ebbtide/ebbtide/agent/azure/azuretest"
	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
	"github.com/ebbtide/ebbtide/agent/sourcetest"
)

// ids are those of the events that are seen, with their states.
func ids(sightings []agent.Sighting) []string {
	var found []string
	for _, s := range sightings {
		found = append(found, s.ID+" "+string(s.State))
	}
	return found
}

func TestAnEventIsFollowedFromItsFirstSightToItsEnd(t *testing.T) {
	t.Parallel()
	server := azuretest.New(t, azuretest.Options{})
	source := newSource(t, azure.Options{Endpoint: server.URL()})
	tracker := agent.Tracker{Node: "node-1", BootID: "this-boot"}
	observe := func() []agent.Notice {
		open, _ := tracker.Observe(source, sourcetest.Poll(t, source), time.Now())
		return open
	}
	if open := observe(); len(open) > 0 {
		t.Fatalf("before the event %+v is open", open)
	}

	server.Schedule(azuretest.Event{ID: "7", Type: "Preempt", NotBefore: time.Now().Add(lead)})
	first := observe()
	if len(first) != 1 || first[0].ID != "7" || first[0].Kind != agent.SpotInterruption {
		t.Fatalf("with the event %+v is open", first)
	}
	if left := first[0].Deadline.Sub(first[0].FirstSeen); left != counted {
		t.Errorf("of the half minute that Azure promises %s are counted on, want %s", left, counted)
	}
	server.Begin("7")
	begun := observe()
	if len(begun) != 1 || begun[0].State != agent.Started || !begun[0].Deadline.Equal(first[0].Deadline) {
		t.Errorf("once it has started %+v is open, want it with the deadline of %+v", begun, first)
	}
	server.Remove("7")
	if open := observe(); len(open) > 0 {
		t.Errorf("after its end %+v is open", open)
	}
}

func TestOnlyEventsOfThisMachineCount(t *testing.T) {
	t.Parallel()
	for name, told := range map[string]string{"that it is told to be": "vmss_7", "by the name that the service has": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := azuretest.New(t, azuretest.Options{Machine: "vmss_7"})
			source := newSource(t, azure.Options{Endpoint: server.URL(), Machine: told})
			server.Schedule(azuretest.Event{ID: "others", Type: "Preempt", Resources: []string{"vmss_8", "vmss_70"}})
			server.Schedule(azuretest.Event{ID: "ours", Type: "Freeze", Duration: -1})
			server.Schedule(azuretest.Event{ID: "shared", Type: "Reboot", Resources: []string{"vmss_8", "VMSS_7"}})
			server.Schedule(azuretest.Event{ID: "short", Type: "Freeze"})
			if diff := cmp.Diff([]string{"ours scheduled", "shared scheduled"}, ids(sourcetest.Poll(t, source))); diff != "" {
				t.Errorf("sightings (-want +got):\n%s", diff)
			}
			asked := server.Requests()["GET "+azuretest.NamePath]
			if want := len(told) == 0; (asked > 0) != want {
				t.Errorf("the name was asked for %d times", asked)
			}
		})
	}
}

func TestASleepingServiceIsWokenInTheBackground(t *testing.T) {
	t.Parallel()
	server := azuretest.New(t, azuretest.Options{Asleep: time.Minute, KeepAlive: true})
	source := newSource(t, azure.Options{Endpoint: server.URL(), Timeout: time.Second})
	for range 2 {
		if sightings := sourcetest.Poll(t, source); len(sightings) > 0 {
			t.Fatalf("from a sleeping service came %+v", sightings)
		}
		source.Age(time.Second)
	}
	if asked := server.Requests()["GET "+azuretest.EventsPath]; asked != 1 {
		t.Errorf("it was asked %d times for events, want one question that stays open", asked)
	}
	server.WakeUp()
	<-source.Answered()
	server.Schedule(azuretest.Event{ID: "7", Type: "Preempt"}) // which that answer does not have
	if diff := cmp.Diff([]string{"7 scheduled"}, ids(sourcetest.Poll(t, source))); diff != "" {
		t.Errorf("once it is awake (-want +got):\n%s", diff)
	}
}

func TestAnAnswerThatComesDuringAPollIsTaken(t *testing.T) {
	t.Parallel()
	server := azuretest.New(t, azuretest.Options{Asleep: time.Hour})
	source := newSource(t, azure.Options{Endpoint: server.URL()})
	server.Schedule(azuretest.Event{ID: "7", Type: "Preempt"})
	time.AfterFunc(200*time.Millisecond, server.WakeUp)
	if diff := cmp.Diff([]string{"7 scheduled"}, ids(sourcetest.Poll(t, source))); diff != "" {
		t.Errorf("once it is awake (-want +got):\n%s", diff)
	}
	if asked := server.Requests()["GET "+azuretest.EventsPath]; asked != 1 {
		t.Errorf("it was asked %d times for events, want once", asked)
	}
}

func TestAServiceThatSleepsForeverIsNotBelieved(t *testing.T) {
	t.Parallel()
	server := azuretest.New(t, azuretest.Options{Asleep: time.Hour})
	source := newSource(t, azure.Options{Endpoint: server.URL(), Timeout: time.Second})
	sourcetest.Poll(t, source)
	source.Age(150 * time.Second)
	const want = "not about scheduled events"
	if sightings, err := source.Poll(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("after two and a half minutes it says %+v, %v; want %q", sightings, err, want)
	}
	server.WakeUp()
	sourcetest.Poll(t, source)
}

func TestASleepingServiceThatCannotBeReachedIsNoCalm(t *testing.T) {
	t.Parallel()
	for _, fault := range []metadatatest.Fault{metadatatest.ConnectionReset, metadatatest.HangingItem, metadatatest.NotFound} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			server := azuretest.New(t, azuretest.Options{Asleep: time.Hour})
			source := newSource(t, azure.Options{Endpoint: server.URL(), Timeout: time.Second})
			sourcetest.Poll(t, source)
			if err := server.SetFault(fault); err != nil {
				t.Fatal(err)
			}
			if sightings, err := source.Poll(t.Context()); err == nil {
				t.Errorf("it says %+v, want an error", sightings)
			}
		})
	}
}

// On a machine whose network comes late, the time to wake up begins late, too.
func TestTheTimeToWakeUpBeginsWhenTheServiceIsThere(t *testing.T) {
	t.Parallel()
	server := azuretest.New(t, azuretest.Options{Asleep: time.Hour})
	source := newSource(t, azure.Options{Endpoint: server.URL(), Timeout: time.Second})
	if err := server.SetFault(metadatatest.ConnectionRefused); err != nil {
		t.Fatal(err)
	}
	if sightings, err := source.Poll(t.Context()); err == nil {
		t.Fatalf("from a service that is not there came %+v", sightings)
	}
	source.Age(time.Hour)
	if err := server.ClearFault(); err != nil {
		t.Fatal(err)
	}
	if sightings := sourcetest.Poll(t, source); len(sightings) > 0 {
		t.Errorf("from a sleeping service came %+v", sightings)
	}
}

func TestAServiceThatWasNotAskedForADayIsWokenAgain(t *testing.T) {
	t.Parallel()
	server := azuretest.New(t, azuretest.Options{})
	source := newSource(t, azure.Options{Endpoint: server.URL(), Timeout: time.Second})
	sourcetest.Poll(t, source)
	source.Age(24 * time.Hour)
	server.FallAsleep(time.Hour)
	if sightings := sourcetest.Poll(t, source); len(sightings) > 0 {
		t.Errorf("from a sleeping service came %+v", sightings)
	}
	// Sooner, silence is a fault.
	server.WakeUp()
	sourcetest.Poll(t, source)
	server.FallAsleep(time.Hour)
	if sightings, err := source.Poll(t.Context()); err == nil {
		t.Errorf("from a service that is known to be awake came %+v", sightings)
	}
}

func TestAPollThatIsCalledOffWhileTheServiceWakesUpSaysSo(t *testing.T) {
	t.Parallel()
	server := azuretest.New(t, azuretest.Options{Asleep: time.Hour})
	source := newSource(t, azure.Options{Endpoint: server.URL()})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if sightings, err := source.Poll(ctx); err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("it says %+v, %v", sightings, err)
	}
}

func TestARefusalNamesItsLikelyCauseAndIsNotAnswered(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fault metadatatest.Fault
		want  []string
	}{
		"an update":            {azuretest.Updating, []string{"410 Gone", "70 seconds"}},
		"too many requests":    {metadatatest.TooManyRequests, []string{"429 Too Many Requests", "throttles"}},
		"a fault of its own":   {metadatatest.InternalError, []string{"500 Internal Server Error", "should pass"}},
		"a closed service":     {metadatatest.Forbidden, []string{"403 Forbidden", "closed"}},
		"another service":      {metadatatest.NotFound, []string{"404 Not Found", "not Azure's"}},
		"silence":              {metadatatest.HangingItem, []string{"hostNetwork"}},
		"an error as a list":   {metadatatest.ForeignJSON, []string{"no list of events", "proxy"}},
		"a page of a stranger": {metadatatest.HTMLPage, []string{"sign", "proxy"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := azuretest.New(t, azuretest.Options{})
			source := newSource(t, azure.Options{Endpoint: server.URL(), Timeout: time.Second})
			sourcetest.Poll(t, source)
			if err := server.SetFault(tc.fault); err != nil {
				t.Fatal(err)
			}
			server.ResetRequests()
			sightings, err := source.Poll(t.Context())
			if err == nil {
				t.Fatalf("it says %+v, want an error", sightings)
			}
			for _, want := range append(tc.want, azuretest.EventsPath) {
				if !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(want)) {
					t.Errorf("the error is %q, want %q in it", err, want)
				}
			}
			if sent := server.Requests(); len(sent) != 1 || sent["GET "+azuretest.EventsPath] != 1 {
				t.Errorf("a poll that is refused sends %v", sent)
			}
		})
	}
}

func TestAMachineWithoutANameIsBlind(t *testing.T) {
	t.Parallel()
	server := azuretest.New(t, azuretest.Options{Machine: "not a name"})
	source := newSource(t, azure.Options{Endpoint: server.URL()})
	if sightings, err := source.Poll(t.Context()); err == nil || !strings.Contains(err.Error(), "not the name of a machine") {
		t.Errorf("it says %+v, %v", sightings, err)
	}
}

func TestOptionsThatCannotBeUsedAreRefused(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]azure.Options{
		"an endpoint with a path":  {Endpoint: "http://127.0.0.1:1/metadata"},
		"a name that is none":      {Machine: "vmss 7"},
		"a timeout less than none": {Timeout: -time.Second},
		"a timeout beyond reason":  {Timeout: time.Minute},
	} {
		if _, err := azure.NewScheduledEvents(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := azure.CheckEndpoint("https://127.0.0.1"); err == nil {
		t.Error("an endpoint of https is accepted")
	}
}

// The service of another machine has a list as well, and never an event of this one.
func TestTheServiceOfAnotherMachineIsNoCalm(t *testing.T) {
	t.Parallel()
	const want = `parsing "vmss_8": want "vmss_7" (this is not this machine's name: is a proxy in the way?)`
	refused := func(t *testing.T, source *azure.ScheduledEvents) {
		t.Helper()
		for range 2 {
			if sightings, err := source.Poll(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("it says %+v, %v; want %s", sightings, err, want)
			}
		}
	}
	t.Run("where this one's name is told", func(t *testing.T) {
		t.Parallel()
		server := azuretest.New(t, azuretest.Options{Machine: "vmss_8"})
		source := newSource(t, azure.Options{Endpoint: server.URL(), Machine: "vmss_7"})
		refused(t, source)
		// What is about this machine counts, whoever tells it.
		server.Schedule(azuretest.Event{ID: "7", Type: "Preempt", Resources: []string{"vmss_7", "vmss_8"}})
		if diff := cmp.Diff([]string{"7 scheduled"}, ids(sourcetest.Poll(t, source))); diff != "" {
			t.Errorf("sightings (-want +got):\n%s", diff)
		}
	})
	t.Run("where it wakes up", func(t *testing.T) {
		t.Parallel()
		server := azuretest.New(t, azuretest.Options{Machine: "vmss_8", Asleep: time.Hour})
		refused(t, newSource(t, azure.Options{Endpoint: server.URL(), Machine: "vmss_7"}))
	})
	t.Run("where it takes the place of this one's", func(t *testing.T) {
		t.Parallel()
		server := azuretest.New(t, azuretest.Options{Machine: "vmss_7"})
		source := newSource(t, azure.Options{Endpoint: server.URL()})
		sourcetest.Poll(t, source)
		server.Rename("vmss_8")
		source.Age(5*time.Minute - time.Second)
		sourcetest.Poll(t, source) // not asked
		source.Age(time.Second)
		refused(t, source)
	})
	t.Run("where it does so in a fault", func(t *testing.T) {
		t.Parallel()
		server := azuretest.New(t, azuretest.Options{Machine: "vmss_7"})
		source := newSource(t, azure.Options{Endpoint: server.URL()})
		sourcetest.Poll(t, source)
		if err := server.SetFault(metadatatest.Unavailable); err != nil {
			t.Fatal(err)
		}
		if _, err := source.Poll(t.Context()); err == nil {
			t.Error("it is calm in a fault")
		}
		server.Rename("vmss_8")
		if err := server.ClearFault(); err != nil {
			t.Fatal(err)
		}
		refused(t, source)
	})
}

// While idle an agent asks once a second, and once for the name of its machine.
func TestAnIdleSourceAsksOnceAPoll(t *testing.T) {
	t.Parallel()
	server := azuretest.New(t, azuretest.Options{KeepAlive: true})
	source := newSource(t, azure.Options{Endpoint: server.URL()})
	const polls = 50
	for range polls {
		sourcetest.Poll(t, source)
		source.Age(source.Pace().Every)
	}
	want := map[string]int{
		http.MethodGet + " " + azuretest.EventsPath: polls,
		http.MethodGet + " " + azuretest.NamePath:   1,
	}
	if diff := cmp.Diff(want, server.Requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if open := server.Connections(); open > 1 {
		t.Errorf("%d connections are open, want one at most", open)
	}
}
