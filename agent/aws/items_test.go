package aws_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/aws"
	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/agent/sourcetest"
)

// wire is what an item holds and how it is read.
type wire struct {
	holds   string
	want    []agent.Sighting
	wantErr string
}

// checkWire reads each of the contents from a fake. An item that is absent is "none" for
// all.
func checkWire(t *testing.T, name, item string, tests map[string]wire) {
	t.Helper()
	for test, tc := range tests {
		t.Run(test, func(t *testing.T) {
			t.Parallel()
			server := awstest.New(t)
			server.SetItem(item, tc.holds)
			got, err := newSources(t, aws.Options{Endpoint: server.URL()})[name].Poll(t.Context())
			if tc.wantErr != "" {
				checkReadError(t, err, tc.wantErr)
				return
			}
			if err != nil {
				t.Fatalf("Poll: %v", err)
			}
			ignored := cmpopts.IgnoreFields(agent.Sighting{}, "ServerTime", "Raw")
			if diff := cmp.Diff(tc.want, got, ignored, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("sightings (-want +got):\n%s", diff)
			}
			for _, s := range got {
				if s.ServerTime.IsZero() || s.Raw == "" {
					t.Errorf("the cloud's clock is %s, and what it said is kept as %q", s.ServerTime, s.Raw)
				}
			}
		})
	}
	t.Run("nothing is said when the item is not there", func(t *testing.T) {
		t.Parallel()
		server := awstest.New(t)
		server.RemoveItem(item)
		if got := sourcetest.Poll(t, newSources(t, aws.Options{Endpoint: server.URL()})[name]); len(got) != 0 {
			t.Errorf("sightings %+v", got)
		}
	})
}

func TestRebalanceReadsWhatTheCloudSays(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	advice := func(emitted time.Time) []agent.Sighting {
		return []agent.Sighting{{Kind: agent.RebalanceAdvice, State: agent.Advisory, Emitted: emitted}}
	}
	checkWire(t, "rebalance", "events/recommendations/rebalance", map[string]wire{
		"an advice is as old as the cloud says": {holds: `{"noticeTime": "2026-11-22T10:00:00Z"}`, want: advice(at)},
		"another layout of the document changes nothing": {
			holds: "{\n\t\"noticeTime\":\"2026-11-22T10:00:00Z\",\"more\": [1]}", want: advice(at),
		},
		"an advice whose time cannot be read is an advice": {holds: `{"noticeTime": "22 Nov 2026 10:00:00 GMT"}`, want: advice(time.Time{})},
		"an advice whose time is a number is an advice":    {holds: `{"noticeTime": 1795341600}`, want: advice(time.Time{})},
		"an advice whose time is null is an advice":        {holds: `{"noticeTime": null}`, want: advice(time.Time{})},
		"an empty reply is no advice":                      {holds: "", wantErr: "unexpected end of JSON input"},
		"half a document is no advice yet":                 {holds: `{"noticeTi`, wantErr: "unexpected end of JSON input"},
		"a document about others is no advice":             {holds: `{"error": "slow down"}`, wantErr: "no noticeTime"},
		"null is no advice":                                {holds: `null`, wantErr: "no noticeTime"},
		"a web page is no advice":                          {holds: "<html>sign in</html>", wantErr: "(this is not a rebalance recommendation: is a proxy in the way?)"},
	})
}

func TestMaintenanceReadsWhatTheCloudSays(t *testing.T) {
	t.Parallel()
	event := agent.Sighting{
		ID: "instance-event-1", Kind: agent.Maintenance, Action: agent.Reboot, State: agent.Scheduled,
		At: time.Date(2019, 1, 21, 9, 0, 43, 0, time.UTC), AtKind: agent.Earliest, Nominal: 60 * 24 * time.Hour,
	}
	with := func(change func(*agent.Sighting)) agent.Sighting {
		s := event
		change(&s)
		return s
	}
	undated := with(func(s *agent.Sighting) { s.At, s.AtKind = time.Time{}, "" })
	unread := with(func(s *agent.Sighting) { s.ID, s.Action, s.At, s.AtKind = "", "", time.Time{}, "" })
	one := func(change func(*agent.Sighting)) []agent.Sighting { return []agent.Sighting{with(change)} }
	const dated = `"NotBefore": "21 Jan 2019 09:00:43 GMT", "EventId": "instance-event-1"`
	tests := map[string]wire{
		"an event by the user guide": {
			holds: `[{"NotBefore": "21 Jan 2019 09:00:43 GMT", "Code": "system-reboot", "Description": "scheduled reboot",
				"EventId": "instance-event-1", "NotAfter": "21 Jan 2019 09:17:23 GMT", "State": "active"}]`,
			want: []agent.Sighting{event},
		},
		"the end of the window may be absent": {
			holds: `[{"Code": "system-reboot", "State": "active", ` + dated + `}]`, want: []agent.Sighting{event},
		},
		"a day of one digit is not padded": {
			holds: `[{"Code": "system-reboot", "NotBefore": "1 Feb 2019 09:00:43 GMT", "EventId": "instance-event-1"}]`,
			want:  one(func(s *agent.Sighting) { s.At = time.Date(2019, 2, 1, 9, 0, 43, 0, time.UTC) }),
		},
		"a code that AWS invents later is kept": {
			holds: `[{"Code": "system-evaporation", ` + dated + `}]`,
			want:  one(func(s *agent.Sighting) { s.Action = "system-evaporation" }),
		},
		"an event that is cancelled is over": {
			holds: `[{"Code": "system-reboot", "State": "canceled", ` + dated + `}]`,
			want:  one(func(s *agent.Sighting) { s.State = agent.Cancelled }),
		},
		"an event that is completed is over": {
			holds: `[{"Code": "system-reboot", "State": "completed", ` + dated + `}]`,
			want:  one(func(s *agent.Sighting) { s.State = agent.Gone }),
		},
		"an event in a state that AWS invents later is still to come": {
			holds: `[{"Code": "system-reboot", "State": "postponed", ` + dated + `}]`, want: []agent.Sighting{event},
		},
		"an event whose moment cannot be read is an event": {
			holds: `[{"Code": "system-reboot", "NotBefore": "tomorrow", "EventId": "instance-event-1"}]`, want: []agent.Sighting{undated},
		},
		"an event whose moment is a number is an event": {
			holds: `[{"Code": "system-reboot", "NotBefore": 1548061243, "EventId": "instance-event-1"}]`, want: []agent.Sighting{undated},
		},
		"an event that cannot be read is one, and hides no other": {
			holds: `[7, {"Code": "system-reboot", ` + dated + `}, null]`, want: []agent.Sighting{unread, event, unread},
		},
		"each of several events is one": {
			holds: `[{"Code": "system-reboot", ` + dated + `}, {"Code": "instance-stop", "NotBefore": "21 Jan 2019 09:00:43 GMT", "EventId": "instance-event-2"}]`,
			want:  []agent.Sighting{event, with(func(s *agent.Sighting) { s.ID, s.Action = "instance-event-2", agent.Stop })},
		},
		"an empty list is none":                 {holds: " [ ]\n"},
		"an empty page is none":                 {holds: "\n"},
		"half a list is no list yet":            {holds: `[{"Code": "system-re`, wantErr: "unexpected end of JSON input"},
		"null is no list":                       {holds: `null`, wantErr: "no list"},
		"a document about others is no list":    {holds: `{"error": "slow down"}`, wantErr: "cannot unmarshal object"},
		"a web page is no list":                 {holds: "<html>sign in</html>", wantErr: "(this is not a list of scheduled events: is a proxy in the way?)"},
		"an event by itself is not taken apart": {holds: `{"Code": "system-reboot", ` + dated + `}`, wantErr: "cannot unmarshal object"},
	}
	for code, action := range map[string]agent.Action{
		"instance-stop": agent.Stop, "instance-retirement": agent.Terminate, "instance-reboot": agent.Reboot,
		"system-reboot": agent.Reboot, "system-maintenance": agent.Reboot,
	} {
		tests[code+" is a "+string(action)] = wire{
			holds: `[{"Code": "` + code + `", ` + dated + `}]`, want: one(func(s *agent.Sighting) { s.Action = action }),
		}
	}
	checkWire(t, "maintenance", "events/maintenance/scheduled", tests)
}

func TestLifecycleReadsWhatTheCloudSays(t *testing.T) {
	t.Parallel()
	leaves := func(action agent.Action) []agent.Sighting {
		return []agent.Sighting{{Kind: agent.ScaleIn, Action: action, State: agent.Started, Nominal: 15 * time.Minute}}
	}
	checkWire(t, "lifecycle", "autoscaling/target-lifecycle-state", map[string]wire{
		"an instance that is scaled in leaves":                  {holds: "Terminated", want: leaves(agent.Terminate)},
		"white space around the word changes nothing":           {holds: " Terminated\n", want: leaves(agent.Terminate)},
		"an instance that the warm pool gives up leaves":        {holds: "Warmed:Terminated", want: leaves(agent.Terminate)},
		"an instance that the warm pool stops leaves":           {holds: "Warmed:Stopped", want: leaves(agent.Stop)},
		"an instance that the warm pool hibernates leaves":      {holds: "Warmed:Hibernated", want: leaves(agent.Hibernate)},
		"an instance that runs in the warm pool stays":          {holds: "Warmed:Running"},
		"an instance in service stays":                          {holds: "InService"},
		"an instance on standby stays":                          {holds: "Standby"},
		"an instance that is detached stays":                    {holds: "Detached"},
		"a state that AWS invents later does not tell to leave": {holds: "Pampered:Running"},
		"half the word that matters is no state yet":            {holds: "Termi", wantErr: "half a state"},
		"an empty page is no state":                             {holds: "", wantErr: "not a word"},
		"a document is no state":                                {holds: `{"state":"Terminated"}`, wantErr: "not a word"},
		"a web page is no state":                                {holds: "<html>sign in</html>", wantErr: "(this is not a lifecycle state: is a proxy in the way?)"},
		"a page of one word is no state":                        {holds: "<html></html>", wantErr: "not a word"},
	})
}

func TestWhatSaysNoneAsLittleAsA404NeedsAProof(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ item, holds string }{
		"rebalance":   {item: "events/recommendations/rebalance"},
		"maintenance": {item: "events/maintenance/scheduled"},
		"lifecycle":   {"autoscaling/target-lifecycle-state", "Howdy"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := awstest.New(t)
			server.SetItem(tc.item, tc.holds)
			if tc.holds == "" && name == "rebalance" {
				server.RemoveItem(tc.item)
			}
			server.RemoveItem("instance-id")
			_, err := newSources(t, aws.Options{Endpoint: server.URL()})[name].Poll(t.Context())
			checkReadError(t, err, `reading metadata item "/latest/meta-data/instance-id": 404 Not Found`)
		})
	}
}

func TestTheHooksTimeIsThatOfTheOptions(t *testing.T) {
	t.Parallel()
	server := awstest.New(t)
	server.Target(0, "Terminated")
	lifecycle := newSources(t, aws.Options{Endpoint: server.URL(), LifecycleNotice: 5 * time.Minute})["lifecycle"]
	if got := sourcetest.Poll(t, lifecycle); len(got) != 1 || got[0].Nominal != 5*time.Minute {
		t.Errorf("sightings %+v", got)
	}
}
