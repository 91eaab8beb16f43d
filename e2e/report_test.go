package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/agent/report"
	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// tells returns those of requests that wrote Events, or tried to: they are counted
// apart from the drain's.
func tells(requests []lab.Request) []lab.Request {
	return slices.DeleteFunc(slices.Clone(requests), func(r lab.Request) bool { return r.Resource != "events" })
}

// mayTell grants the scene's account what Events take, and nothing else.
func (s *scene) mayTell() {
	s.t.Helper()
	meta := metav1.ObjectMeta{Name: "lab:" + s.namespace + ":events"}
	roles, options := s.lab.Client().RbacV1(), metav1.CreateOptions{}
	_, err := roles.ClusterRoles().Create(s.t.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: report.PolicyRules()}, options)
	s.must(err)
	_, err = roles.ClusterRoleBindings().Create(s.t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.namespace, Name: "ebbtide-agent"}},
	}, options)
	s.must(err)
}

// events waits for as many Events of the scene's agents.
func (s *scene) events(count int) []eventsv1.Event {
	s.t.Helper()
	ctx := s.within(10 * time.Second)
	// From no version on, a watch begins with all that is there.
	watcher, err := s.lab.Client().EventsV1().Events(metav1.NamespaceAll).Watch(ctx,
		metav1.ListOptions{FieldSelector: "reportingController=ebbtide.dev/agent"})
	s.must(err)
	defer watcher.Stop()
	var events []eventsv1.Event
	for len(events) < count {
		seen, open := <-watcher.ResultChan()
		if !open {
			s.t.Fatalf("%d Events are there, want %d: %v", len(events), count, s.tales(events))
		}
		if event, is := seen.Object.(*eventsv1.Event); is && event.ReportingInstance == s.doomed.Name() {
			events = append(events, *event)
		}
	}
	return events
}

// tales tells what Events are about and their reasons, sorted. Of a pod's name it
// tells the workload.
func (s *scene) tales(events []eventsv1.Event) []string {
	short := make([]string, 0, len(events))
	for _, event := range events {
		about, _, _ := strings.Cut(event.Regarding.Name, "-")
		if event.Regarding.Kind == "Node" {
			about = strings.TrimPrefix(event.Regarding.Name, s.namespace+"-")
		}
		short = append(short, fmt.Sprintf("%s %s: %s", event.Regarding.Kind, about, event.Reason))
	}
	slices.Sort(short)
	return short
}

func TestEventsTellWhatBecameOfTheNodeAndOfEachPod(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.mayTell()
	s.run(5, pods{name: "web", replicas: 2}.manifest(s),
		// A pod of nobody's cannot be handed over.
		pods{name: "stuck", kind: "Pod", grace: 4 * time.Second}.manifest(s), budget("stuck", "stuck", "minAvailable", "1"),
		pods{name: "single", replicas: 1, asks: drain.HandOverAnnotation + ": Always"}.manifest(s),
		pods{name: "long", replicas: 1, grace: 5 * time.Minute}.manifest(s))
	a := s.ready()
	before := len(s.requests())
	s.interrupt(25 * time.Second)
	report := s.report(a, 30*time.Second)

	events := s.events(8)
	want := []string{
		"Node doomed: InterruptionNoticed", "Node doomed: NodeDrained",
		"Pod long: EvictedForInterruption", "Pod long: GraceShortened",
		"Pod single: HandedOver", "Pod stuck: ForcedPastBudget",
		"Pod web: EvictedForInterruption", "Pod web: EvictedForInterruption",
	}
	if diff := cmp.Diff(want, s.tales(events)); diff != "" {
		t.Errorf("events (-want +got), of %+v:\n%s", report.Pods, diff)
	}
	s.concern(events)
	written := tells(s.requests()[before:])
	if len(written) != len(want) {
		t.Errorf("%d requests wrote %d Events, want one for each", len(written), len(want))
	}
	s.noneLost()
	s.toldOnce()
}

// concern fails the test for every Event that is not about the doomed node or one
// of its pods, by UID, in the namespace where people look for it.
func (s *scene) concern(events []eventsv1.Event) {
	s.t.Helper()
	namespaces := map[types.UID]string{s.node().UID: metav1.NamespaceDefault}
	for _, record := range s.lives() {
		namespaces[record.UID] = s.namespace
	}
	for _, event := range events {
		if namespace, known := namespaces[event.Regarding.UID]; !known || namespace != event.Namespace {
			s.t.Errorf("the Event %s in %s is about %+v", event.Reason, event.Namespace, event.Regarding)
		}
	}
}

func TestAnAPIServerThatRefusesEventsChangesNothingAboutTheDrain(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	restricted := "restricted"
	kubeconfig, err := s.lab.ServiceAccount(t.Context(), s.namespace, restricted, drain.PolicyRules())
	s.must(err)
	s.kubeconfig, s.user = kubeconfig, lab.ServiceAccountUser(s.namespace, restricted)
	s.run(6, pods{name: "web", replicas: 6}.manifest(s))
	a := s.ready()
	s.interrupt(30 * time.Second)
	report := s.report(a, 35*time.Second)

	if got := report.Count(drain.Evicted); got != 6 || !report.Complete() {
		t.Errorf("%d pods took the path Evicted, want 6: %+v", got, report.Pods)
	}
	_, err = a.WaitLog(s.within(5*time.Second), "Reported to nobody")
	s.must(err)
	refused := tells(s.requests())
	if len(refused) == 0 || len(refused) > 2 {
		t.Errorf("%d requests for Events were refused, want one with the notice and one with the report at most", len(refused))
	}
	for _, r := range refused {
		if r.Code != 403 {
			t.Errorf("a request for an Event was answered with %d, want 403", r.Code)
		}
	}
	if code, body, err := a.Readyz(t.Context()); err != nil || code != 200 {
		t.Errorf("/readyz answers %d (%v), want 200:\n%s", code, err, body)
	}
	series, err := a.Metrics(t.Context())
	s.must(err)
	if failed := series[`ebbtide_events_total{outcome="Failed"}`]; failed != float64(len(refused)) {
		t.Errorf("%v Events are counted as failed, want %d", failed, len(refused))
	}
	s.noneLost()
	s.toldOnce()
}
