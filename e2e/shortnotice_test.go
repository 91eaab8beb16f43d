package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/agent/azure/azuretest"
	"github.com/ebbtide/ebbtide/agent/gcp/gcptest"
	"github.com/ebbtide/ebbtide/agent/report"
	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/agentrun"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// forever is how long a pod takes to end that does not end by itself.
const forever = 1000 * time.Hour

// temper is how the pods of a workload take it when they are told to stop.
type temper struct {
	pods
	// closed is a budget that lets none of them go.
	closed bool
	// waits is when they have so little to do that there is time left to honour their
	// budget, to the last moment that leaves them all of their grace.
	waits bool
	path  drain.Path
}

// tempers are thirty pods on a machine with as much time left: some with a grace that
// fits into it and others with more, which end just in time, with room to spare, or not
// by themselves at all.
func tempers(left time.Duration) []temper {
	// Of the time that is left when the notice can be read, reading it takes a second at
	// most, and another one is lost where moments are counted in whole seconds.
	just := left - 3*time.Second
	return []temper{
		{pods: pods{name: "quick", replicas: 8, grace: 3 * time.Second}, path: drain.Evicted},
		{pods: pods{name: "web", replicas: 6, grace: 30 * time.Second, exits: just}, path: drain.Clamped},
		{pods: pods{name: "dns", replicas: 2, grace: 30 * time.Second, labels: "app.kubernetes.io/component: webhook"}, path: drain.Clamped},
		{pods: pods{name: "bare", kind: "Pod", grace: 5 * time.Minute, exits: just}, path: drain.Clamped},
		{pods: pods{name: "db", kind: "StatefulSet", replicas: 4, grace: 5 * time.Minute, exits: just}, closed: true, path: drain.Forced},
		{pods: pods{name: "single", replicas: 1, grace: time.Minute, exits: just}, closed: true, path: drain.Forced},
		{pods: pods{name: "brief", kind: "StatefulSet", replicas: 4, grace: 4 * time.Second, exits: 3 * time.Second}, closed: true, waits: true, path: drain.Forced},
		{pods: pods{name: "stubborn", replicas: 2, grace: 2 * time.Minute, exits: forever}, path: drain.Clamped},
		{pods: pods{name: "held", kind: "StatefulSet", replicas: 2, grace: 2 * time.Minute, exits: forever}, closed: true, path: drain.Forced},
	}
}

// crowd puts tempers on the doomed node.
func (s *scene) crowd(all []temper) {
	s.t.Helper()
	const thirty = 30
	var manifests []string
	for _, w := range all {
		manifests = append(manifests, w.manifest(s))
		if w.closed {
			manifests = append(manifests, budget(w.name, w.name, "maxUnavailable", "0"))
		}
	}
	s.run(thirty, manifests...)
}

// ofWorkload returns the lives of a workload's pods on the doomed node.
func (s *scene) ofWorkload(name string) []lab.PodRecord {
	return slices.DeleteFunc(s.lives(), func(r lab.PodRecord) bool { return r.Name != name && !strings.HasPrefix(r.Name, name+"-") })
}

// foretold fails the test for every pod that was not told to stop when it should have
// been, or not with the grace that it should have got, or that ended otherwise than it
// could have. left is how long after the notice could be read pods have by the agent's
// reckoning.
func (s *scene) foretold(all []temper, left time.Duration) {
	s.t.Helper()
	const (
		// The agent reads the notice within a second, and tells everybody within a second
		// after that: the rest is for a machine that is busy.
		prompt = 3 * time.Second
		// What the API's whole seconds and the time of a call add up to.
		blur = 2 * time.Second
	)
	var last time.Duration
	ends := map[lab.End]int{}
	for _, w := range all {
		lives := s.ofWorkload(w.name)
		if len(lives) != max(1, w.replicas) {
			s.t.Errorf("%d pods of %s were on the node, want %d", len(lives), w.name, w.replicas)
		}
		for _, life := range lives {
			told, own := life.ToldAt.Sub(s.noticed), life.Grace == w.grace
			if life.ToldAt.IsZero() {
				s.t.Errorf("pod %s was never told to stop", life.Name)
				continue
			}
			s.t.Logf("%s told after %s with %s of grace of %s, %s after %s", life.Name,
				told.Round(time.Millisecond), life.Grace, w.grace, life.End, life.EndedAt.Sub(s.noticed).Round(time.Millisecond))
			ends[life.End]++
			if !w.waits {
				last = max(last, told)
			}
			if latest := left - w.grace; w.waits && (told-latest).Abs() > blur {
				s.t.Errorf("pod %s was told to stop after %s, want at its latest moment, after %s", life.Name, told, latest)
			}
			if fits := w.grace < left; fits && !own {
				s.t.Errorf("pod %s was given %s of grace, want its own %s", life.Name, life.Grace, w.grace)
			} else if spent := told + life.Grace; !fits && (spent-left).Abs() > blur {
				s.t.Errorf("pod %s was given %s of grace after %s, want all that is left of %s", life.Name, life.Grace, told, left)
			}
			if could := w.exits < left; could && life.End != lab.Exited {
				s.t.Errorf("pod %s ended as %s after %s, want %s", life.Name, life.End, life.EndedAt.Sub(s.noticed), lab.Exited)
			}
		}
	}
	if last > prompt {
		s.t.Errorf("the last of the pods that have no time to wait was told to stop after %s, want at once", last)
	}
	s.t.Logf("all who had no time to wait were told within %s; of all pods: %v", last.Round(time.Millisecond), ends)
}

// named fails the test where the agent's word on a workload's pods is not what became of
// them: their paths, and the grace that each was given of what it asks for, in the log at
// the moment when it was told to stop as in the report.
func (s *scene) named(a *agentrun.Agent, all []temper, of drain.Report) {
	s.t.Helper()
	short, left := 0, 0
	for _, w := range all {
		for _, life := range s.ofWorkload(w.name) {
			got, want := outcome(s.t, of, life.Name), w.path
			if life.End == lab.Lost {
				want = drain.Lost
				left++
			}
			if got.Path != want {
				s.t.Errorf("pod %s took the path %s, want %s: %+v", life.Name, got.Path, want, got)
			}
			given, wanted := time.Duration(got.GraceGiven)*time.Second, time.Duration(got.GraceWanted)*time.Second
			if given != life.Grace || wanted != w.grace {
				s.t.Errorf("the report gives pod %s %s of %s, want %s of %s", life.Name, given, wanted, life.Grace, w.grace)
			}
			if given < wanted {
				short++
			}
			said, err := a.WaitRecord(s.within(time.Second), func(r agentrun.Record) bool {
				return r.Message == "Told pod to stop" && r.Text("pod") == s.namespace+"/"+life.Name
			})
			s.must(err)
			var seconds int64
			s.must(said.Decode("graceSeconds", &seconds))
			if seconds != got.GraceGiven {
				s.t.Errorf("the log gives pod %s %d s of grace, the report %d s", life.Name, seconds, got.GraceGiven)
			}
		}
	}
	// An Event for each pod that left, another where one got less than it asks for, and two
	// of the node.
	shortened := 0
	for _, event := range s.events(len(of.Pods) - left + short + 2) {
		if event.Reason == report.GraceShortened {
			shortened++
		}
	}
	if shortened != short {
		s.t.Errorf("%d Events tell of a shortened grace, want %d", shortened, short)
	}
}

// left returns how long after the notice could be read pods have by the plan, and fails
// the test where that is far from the truth: the clouds write whole seconds, and where a
// document promises too much only the first sight counts.
func (s *scene) left(of drain.Report, lead time.Duration) time.Duration {
	s.t.Helper()
	planned := of.Plan.Deadline.Sub(s.noticed)
	if off := planned - lead; off < -2*time.Second || off > 1500*time.Millisecond {
		s.t.Errorf("the plan has the machine die after %s, want about %s", planned, lead)
	}
	return planned - time.Duration(of.Plan.ReserveSeconds*float64(time.Second))
}

// The tests of short notices are not parallel: of ten seconds, a machine that is busy
// with other tests takes away what is looked for.

func TestAPreemptOfTenSecondsOnAzureLeavesNoPodUntold(t *testing.T) {
	const lead, reserve = 10 * time.Second, time.Second
	for name, promised := range map[string]time.Duration{
		"the document says as much":           lead,
		"the document promises half a minute": 30 * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, lab.Shared(t))
			azure := azuretest.New(t, azuretest.Options{})
			s.provider, s.endpoint = "azure", azure.URL()
			all := tempers(lead - reserve)
			s.crowd(all)
			a := s.ready()
			notBefore := s.doom(lead).Add(promised - lead)
			azure.Schedule(azuretest.Event{ID: "7C9E6679-7425-40DE-944B-E07FC1F90AE7", Type: "Preempt", NotBefore: notBefore})
			of := s.report(a, 20*time.Second)

			s.foretold(all, s.left(of, lead))
			s.named(a, all, of)
			s.toldOnce()
		})
	}
}

func TestAPreemptionOfThirtySecondsOnGCPLeavesNoPodUntold(t *testing.T) {
	const lead, reserve = 30 * time.Second, 3 * time.Second
	s := newScene(t, lab.Shared(t))
	gcp := gcptest.New(t)
	s.provider, s.endpoint = "gcp", gcp.URL()
	all := tempers(lead - reserve)
	s.crowd(all)
	a := s.ready()
	s.doom(lead)
	gcp.Preempt(0)
	of := s.report(a, 40*time.Second)

	s.foretold(all, s.left(of, lead))
	s.named(a, all, of)
	s.toldOnce()
}
