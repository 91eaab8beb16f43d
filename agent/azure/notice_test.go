package azure

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
)

const machine = "aks-spot-12345678-vmss_7"

// read is what a list says of the machine.
func read(body string, date time.Time) ([]agent.Sighting, error) {
	list, err := parse(metadata.Reply{Body: []byte(body)})
	if err != nil {
		return nil, err
	}
	return list.sightings(date, machine)
}

// entry is an event of the list, in which each pair of old and new is replaced.
func entry(changes ...string) string {
	return strings.NewReplacer(changes...).Replace(`{"EventId": "C7061BAC", "EventStatus": "Scheduled", "EventType": "Preempt",
		"ResourceType": "VirtualMachine", "Resources": ["aks-spot-12345678-vmss_7"], "NotBefore": "Mon, 11 Apr 2026 22:26:58 GMT",
		"Description": "", "EventSource": "Platform", "DurationInSeconds": -1}`)
}

func listed(entries ...string) string {
	return `{"DocumentIncarnation": 2, "Events": [` + strings.Join(entries, ",") + `]}`
}

func TestAListIsReadAsItIsMeant(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 4, 11, 22, 26, 58, 0, time.UTC)
	date := at.Add(-30 * time.Second)
	seen := func(change func(*agent.Sighting)) []agent.Sighting {
		s := agent.Sighting{
			ID: "C7061BAC", Kind: agent.SpotInterruption, Action: agent.Terminate, State: agent.Scheduled,
			At: at, AtKind: agent.Earliest, ServerTime: date, Nominal: 10 * time.Second,
		}
		change(&s)
		return []agent.Sighting{s}
	}
	maintenance := func(action agent.Action) []agent.Sighting {
		return seen(func(s *agent.Sighting) {
			s.Kind, s.Action, s.Nominal = agent.Maintenance, action, 7*24*time.Hour
		})
	}
	preempt := seen(func(*agent.Sighting) {})
	dateless := seen(func(s *agent.Sighting) { s.At, s.AtKind = time.Time{}, "" })
	asType := func(eventType string) string { return listed(entry("Preempt", eventType)) }
	tests := map[string]struct {
		body string
		want []agent.Sighting
	}{
		"an empty list is no notice":               {listed(), nil},
		"an eviction leaves ten seconds":           {listed(entry()), preempt},
		"a termination leaves what its user chose": {asType("Terminate"), seen(func(s *agent.Sighting) { s.Kind, s.Nominal = agent.ScaleIn, 15*time.Minute })},
		"a reboot is maintenance":                  {asType("Reboot"), maintenance(agent.Reboot)},
		"a redeployment is maintenance":            {asType("Redeploy"), maintenance(agent.Redeploy)},
		"a freeze is maintenance":                  {asType("Freeze"), maintenance(agent.Freeze)},
		"what Azure invents later is maintenance":  {asType("Evaporate"), maintenance("evaporate")},
		"a type in other letters is the same":      {asType("PREEMPT"), preempt},
		"a machine in other letters is the same":   {listed(entry("aks-spot", "AKS-Spot")), preempt},
		"a machine among others counts":            {listed(entry(`["aks`, `["other_1", "aks`)), preempt},
		"an event of others does not":              {listed(entry("vmss_7", "vmss_70")), nil},
		"a name within a name does not":            {listed(entry("vmss_7", "vmss")), nil},
		"a moment in the layout of RFC 3339":       {listed(entry("Mon, 11 Apr 2026 22:26:58 GMT", "2026-04-11T22:26:58Z")), preempt},
		"a moment in another zone":                 {listed(entry("Mon, 11 Apr 2026 22:26:58 GMT", "2026-04-12T00:26:58+02:00")), preempt},
		"a moment with a zone in figures":          {listed(entry("22:26:58 GMT", "23:26:58 +0100")), preempt},
		"a blank moment leaves the event":          {listed(entry("Mon, 11 Apr 2026 22:26:58 GMT", "")), dateless},
		"an unreadable moment leaves the event":    {listed(entry("Mon, 11 Apr", "soon")), dateless},
		"a moment that is a number leaves it, too": {listed(entry(`"Mon, 11 Apr 2026 22:26:58 GMT"`, "1775946418")), dateless},
		"a moment that is missing leaves it, too":  {listed(entry("NotBefore", "NotAfter")), dateless},
		"a zone by a name that may mean much":      {listed(entry("GMT", "CST")), dateless},
		"a termination without a moment is the shortest": {
			listed(entry("Preempt", "Terminate", "Mon, ", "")),
			seen(func(s *agent.Sighting) {
				s.Kind, s.At, s.AtKind, s.Nominal = agent.ScaleIn, time.Time{}, "", 5*time.Minute
			}),
		},
		"what has started leaves no time": {
			listed(entry("Scheduled", "Started", "Mon, 11 Apr 2026 22:26:58 GMT", "")),
			seen(func(s *agent.Sighting) { s.State, s.At, s.AtKind, s.Nominal = agent.Started, time.Time{}, "", 0 }),
		},
		"what has started, and its moment was kept": {
			listed(entry("Scheduled", "Started")),
			seen(func(s *agent.Sighting) { s.State, s.At, s.AtKind, s.Nominal = agent.Started, time.Time{}, "", 0 }),
		},
		"what is completed is gone":                  {listed(entry("Scheduled", "Completed")), seen(func(s *agent.Sighting) { s.State = agent.Gone })},
		"what is cancelled is that":                  {listed(entry("Scheduled", "Canceled")), seen(func(s *agent.Sighting) { s.State = agent.Cancelled })},
		"a status of a later day is an event":        {listed(entry("Scheduled", "Pondered")), preempt},
		"an event without an id is one all the same": {listed(entry("C7061BAC", "")), seen(func(s *agent.Sighting) { s.ID = "" })},
		"an incomplete one hides no other": {
			listed(`{"EventType": "Freeze"}`, entry(), `null`, `7`), preempt,
		},
		"two events are two": {
			listed(entry(), entry("C7061BAC", "602D9444")),
			append(seen(func(*agent.Sighting) {}), seen(func(s *agent.Sighting) { s.ID = "602D9444" })...),
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := read(tc.body, date)
			if err != nil {
				t.Fatalf("reading %s: %v", tc.body, err)
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreFields(agent.Sighting{}, "Raw")); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.body, diff)
			}
		})
	}
}

func TestAFreezeSaysHowLongItLastsWhereThatIsKnown(t *testing.T) {
	t.Parallel()
	freeze := func(duration string) string { return entry("Preempt", "Freeze", "-1}", duration+"}") }
	tests := map[string]struct {
		event string
		want  []time.Duration // of the sightings
	}{
		"of some seconds":                     {freeze("5"), []time.Duration{5 * time.Second}},
		"of a fraction of one":                {freeze("0.25"), []time.Duration{250 * time.Millisecond}},
		"of more than anyone waits":           {freeze("1e300"), []time.Duration{week}},
		"of no impact is none":                {freeze("0"), nil},
		"of a length that Azure doesn't know": {freeze("-1"), []time.Duration{0}},
		"of a length that is not said":        {entry("Preempt", "Freeze", "DurationInSeconds", "Colour"), []time.Duration{0}},
		"of a length that is no number":       {freeze(`"short"`), []time.Duration{0}},
		"is what a reboot is not":             {entry("Preempt", "Reboot", "-1}", "0}"), []time.Duration{0}},
		"is what an eviction is not":          {entry("-1}", "9}"), []time.Duration{0}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sightings, err := read(listed(tc.event), time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			var got []time.Duration
			for _, s := range sightings {
				got = append(got, s.Lasts)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s lasts (-want +got):\n%s", tc.event, diff)
			}
		})
	}
}

func TestWhatIsNoListIsNeverCalm(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"an error":                      `{"error": "Too many requests"}`,
		"an empty document":             `{}`,
		"a list of nothing":             `{"DocumentIncarnation": 1, "Events": null}`,
		"events that are no list":       `{"Events": {}}`,
		"a list without a document":     `[]`,
		"nothing":                       ``,
		"null":                          `null`,
		"half a list":                   `{"DocumentIncarnation": 1, "Events": [`,
		"a list and something after it": `{"Events": []} {}`,
		"an event without machines":     listed(entry("Resources", "Sources")),
		"an event with no machine":      listed(entry(`"aks-spot-12345678-vmss_7"`, "")),
		"an event that is none":         listed(`null`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := read(body, time.Time{}); err == nil {
				t.Errorf("%s is %+v, want an error", body, got)
			}
		})
	}
}

func TestAnEventWithoutAnIDCannotBeAcknowledged(t *testing.T) {
	t.Parallel()
	list, err := parse(metadata.Reply{Body: []byte(listed(entry("C7061BAC", "")))})
	if err != nil {
		t.Fatal(err)
	}
	if err := list.startable("", machine); !errors.Is(err, ErrNotListed) {
		t.Errorf("startable: %v, want %v", err, ErrNotListed)
	}
}

func TestMachinesAreNamedAfterTheirNodes(t *testing.T) {
	t.Parallel()
	const group = "azure:///subscriptions/0/resourceGroups/mc_x/providers/Microsoft.Compute/"
	for id, want := range map[string]string{
		group + "virtualMachineScaleSets/aks-spot-12345678-vmss/virtualMachines/7": machine,
		group + "virtualmachinescalesets/aks-x-vmss/virtualmachines/10":            "aks-x-vmss_10",
		group + "virtualMachines/aks-flex_0a1b2c3d":                                "aks-flex_0a1b2c3d",
		group + "virtualMachineScaleSets/aks-x-vmss":                               "",
		group + "virtualMachines/":                                                 "",
		"aws:///eu-central-1a/i-0ebb71de0ebb71de0":                                 "",
		"gce://project/zone/virtualMachines/7":                                     "",
		"":                                                                         "",
	} {
		if got := MachineName(id); got != want {
			t.Errorf("MachineName(%q) = %q, want %q", id, got, want)
		}
	}
}

// Whatever a stranger at the address sends, it ends as notices of this machine or
// as an error, and what is kept of it can be logged.
func FuzzList(f *testing.F) {
	for _, seed := range []string{
		listed(), listed(entry()), listed(entry(), entry("Preempt", "Freeze")), listed(entry("Scheduled", "Started")),
		listed(entry("C7061BAC", "\xff")), listed(`{"Resources": [1, null, "` + machine + `"], "EventId": "7"}`),
		`{}`, `[]`, `null`, ``, `{"Events": [[]]}`, `<html>`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := parse(metadata.Reply{Body: body})
		var sightings []agent.Sighting
		if err == nil {
			sightings, err = list.sightings(time.Time{}, machine)
		}
		if err != nil {
			if !utf8.ValidString(err.Error()) || len(sightings) > 0 {
				t.Errorf("%+v and the error %q", sightings, err)
			}
			return
		}
		for _, s := range sightings {
			if s.Kind == "" || len(s.Raw) > agent.MaxRaw || !utf8.ValidString(s.ID+string(s.Action)+s.Raw) {
				t.Errorf("sighting %+v of %q", s, body)
			}
			if !strings.Contains(strings.ToLower(string(body)), "resources") {
				t.Errorf("sighting %+v of %q, which names no machine", s, body)
			}
		}
	})
}
