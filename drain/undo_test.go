package drain

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// uncordon lets the doomed node take pods, as it did before anybody drained it, and
// waits until the node's controller has taken that in.
func (s *stage) uncordon() {
	s.Helper()
	_, err := s.lab.Client().CoreV1().Nodes().Patch(s.Context(), s.doomed.Name(), types.MergePatchType,
		[]byte(`{"spec":{"unschedulable":null}}`), metav1.PatchOptions{})
	s.must(err)
	s.must(s.lab.WaitNode(s.within(30*time.Second), s.doomed.Name(), func(node *corev1.Node) bool {
		return len(node.Spec.Taints) == 0
	}))
}

// marked cordons the doomed node for a drill.
func (s *stage) marked(client *Client) {
	s.Helper()
	if _, outcome := Cordon(s.within(30*time.Second), client, State{Notice: "drill-1", Kind: "Drill"}); outcome.Done.IsZero() {
		s.Fatal(outcome.Err)
	}
}

// doomedLook is how the doomed node looks, without what others write.
func (s *stage) doomedLook() look {
	s.Helper()
	node, err := s.lab.Client().CoreV1().Nodes().Get(s.Context(), s.doomed.Name(), metav1.GetOptions{})
	s.must(err)
	state, err := ReadState(node)
	s.must(err)
	l := look{Unschedulable: node.Spec.Unschedulable, State: state}
	for _, taint := range node.Spec.Taints {
		if taint.Key == TaintKey {
			l.Taints = append(l.Taints, taint)
		}
	}
	return l
}

// answer is a reply that an API server, or what stands before it, gives to a request.
func answer(request *http.Request, code int, body string) *http.Response {
	return &http.Response{
		StatusCode: code, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)), Request: request,
	}
}

// A third party that refuses every write of a pod shall not keep the node closed.
func TestANodeIsPutBackThoughItsPodsCannotBeTidied(t *testing.T) {
	t.Parallel()
	const denied = `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "reason": "Forbidden",
		"message": "admission webhook \"guard.example.com\" denied the request"}`
	const overloaded = `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 429, "reason": "TooManyRequests", "message": "too many requests"}`
	cases := map[string]struct {
		code int
		body string
		// hits says which requests meet it.
		hits func(request *http.Request) bool
	}{
		"a webhook refuses each write of the pod": {403, denied, func(r *http.Request) bool {
			return r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/pods/")
		}},
		"the API server sheds them": {429, overloaded, func(r *http.Request) bool {
			return r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/pods/")
		}},
		"the pods cannot be listed": {429, overloaded, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/pods") }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, 1, web("web", 1))
			old := s.pod("web")
			ref := s.begun(s.handOvers(), old)
			s.waitPods(30*time.Second, lab.AllReady(2))
			s.uncordon()
			through := s.handOversThrough(func(request *http.Request, next http.RoundTripper) (*http.Response, error) {
				if c.hits(request) {
					return answer(request, c.code, c.body), nil
				}
				return next.RoundTrip(request)
			})
			s.marked(through.client)
			undone, err := through.client.UndoDrain(s.within(30*time.Second), anyState)
			if !undone || err == nil {
				t.Errorf("it says %v, %v; want the node put back, and what is in the pod's way", undone, err)
			}
			left := look{State: &State{Notice: "drill-1", Kind: "Drill", PutBack: true}}
			if diff := cmp.Diff(left, s.doomedLook()); diff != "" {
				t.Errorf("the node (-want +got):\n%s", diff)
			}
			if handed := s.pod("web"); handed.UID != ref.UID || !ownedBy(handed, "Deployment") {
				t.Fatalf("pod %q is owned by %v: nothing was in the way", handed.Name, handed.OwnerReferences)
			}

			never := func(State) bool { return false }
			undone, err = s.handOvers().client.UndoDrain(s.within(30*time.Second), never)
			if s.must(err); !undone {
				t.Error("nobody goes on with what is left")
			}
			if diff := cmp.Diff(look{}, s.doomedLook()); diff != "" {
				t.Errorf("the node at last (-want +got):\n%s", diff)
			}
			s.isBack(old)
		})
	}
}

// A drain may begin between the look at the node and the write that puts it back.
func TestADrainThatBeginsInTheMiddleOfAnUndoIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, web("web", 1))
	h, old := s.handOvers(), s.pod("web")
	s.begun(h, old)
	s.waitPods(30*time.Second, lab.AllReady(2)) // so that the other one is elsewhere
	s.uncordon()
	s.marked(h.client)
	begins := true
	through := s.handOversThrough(func(request *http.Request, next http.RoundTripper) (*http.Response, error) {
		if begins && request.Method == http.MethodPatch {
			begins = false
			_, outcome := Cordon(request.Context(), h.client, State{Notice: "real", Kind: "SpotInterruption"})
			if outcome.Done.IsZero() {
				t.Error(outcome.Err)
			}
		}
		return next.RoundTrip(request)
	})
	undone, err := through.client.UndoDrain(s.within(30*time.Second), func(state State) bool { return state.Notice == "drill-1" })
	if s.must(err); undone {
		t.Error("the node is said to be put back")
	}
	want := look{Unschedulable: true, Taints: []corev1.Taint{ourTaint}, State: &State{Notice: "real", Kind: "SpotInterruption", Cordoned: true}}
	if diff := cmp.Diff(want, s.doomedLook()); diff != "" {
		t.Errorf("the node (-want +got):\n%s", diff)
	}
	if pod := s.pod("web"); pod.UID != old.UID || !ownedBy(pod, "Deployment") {
		t.Errorf("pod %q is owned by %v: it was taken from the drain", pod.Name, pod.OwnerReferences)
	}
}

// What takes everything back may be bound to do so in one write.
func TestANodeIsOpenedInOneWriteByWhoeverIsNotItsAgent(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, web("web", 1))
	s.uncordon()
	writes := 0
	client := s.handOversThrough(func(request *http.Request, next http.RoundTripper) (*http.Response, error) {
		reply, err := next.RoundTrip(request)
		// One that lost against the node's controller has written nothing.
		if err == nil && reply.StatusCode == http.StatusOK && request.Method == http.MethodPatch && strings.Contains(request.URL.Path, "/nodes/") {
			writes++
		}
		return reply, err
	}).client
	undo := func(want int) {
		t.Helper()
		writes = 0
		undone, err := client.Undo(s.within(30*time.Second), anyState)
		if s.must(err); !undone || writes != want {
			t.Errorf("it is undone: %v, in %d writes; want %d", undone, writes, want)
		}
		if diff := cmp.Diff(look{}, s.doomedLook()); diff != "" {
			t.Errorf("the node (-want +got):\n%s", diff)
		}
	}
	undo(0) // there is no state
	s.marked(s.handOvers().client)
	undo(1)
	s.marked(s.handOvers().client)
	if undone, err := client.Undo(s.within(30*time.Second), func(State) bool { return false }); undone || err != nil {
		t.Errorf("one that may not be undone is: %v, %v", undone, err)
	}
}

// The deadline of a cordon's request has passed, and the API server carries it out
// when everything has been undone.
func TestACordonThatArrivesAfterItsUndoComesToNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, web("web", 1))
	s.uncordon()
	late, arrived := make(chan struct{}), make(chan int, 1)
	through := s.handOversThrough(func(request *http.Request, next http.RoundTripper) (*http.Response, error) {
		if request.Method != http.MethodPatch {
			return next.RoundTrip(request)
		}
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return nil, err
		}
		again := request.Clone(context.WithoutCancel(request.Context()))
		again.Body = io.NopCloser(strings.NewReader(string(body)))
		go func() {
			<-late
			code := 0
			if reply, err := next.RoundTrip(again); err == nil {
				code = reply.StatusCode
				_ = reply.Body.Close()
			}
			arrived <- code
		}()
		<-request.Context().Done()
		return nil, request.Context().Err()
	})
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := through.client.Mark(short, State{Notice: "drill-1", Kind: "Drill"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the cordon says %v, want that its time was up", err)
	}
	undone, err := s.handOvers().client.UndoDrain(s.within(30*time.Second), anyState)
	if s.must(err); !undone {
		t.Error("the node is not said to be put back")
	}
	close(late)
	if code := <-arrived; code != http.StatusConflict {
		t.Errorf("the late cordon is answered with %d, want a conflict", code)
	}
	if diff := cmp.Diff(look{}, s.doomedLook()); diff != "" {
		t.Errorf("the node (-want +got):\n%s", diff)
	}
}

func TestADrainAndARescueLeaveEachOthersHandOversAlone(t *testing.T) {
	t.Parallel()
	s := newStage(t, 2, web("web", 1), web("other", 1))
	drains := s.handOvers()
	rescues := NewHandOvers(drains.client, RescueNotice)
	rescued, drained := s.pod("web"), s.pod("other")
	s.begun(rescues, rescued)
	s.begun(drains, drained)
	s.waitPods(30*time.Second, lab.AllReady(4))
	undo := func(h *HandOvers, pod *corev1.Pod) {
		t.Helper()
		if undone, err := h.Undo(s.within(10*time.Second), refOf(pod)); undone || err != nil {
			t.Errorf("an undo by the other says %v, %v; want that there is nothing to do", undone, err)
		}
	}
	undo(drains, rescued)
	undo(rescues, drained)

	s.marked(drains.client)
	undone, err := drains.client.UndoDrain(s.within(30*time.Second), anyState)
	if s.must(err); !undone {
		t.Error("the node's undo found nothing to undo")
	}
	if back := s.pod("other"); back.UID != drained.UID || !ownedBy(back, "ReplicaSet") {
		t.Errorf("pod %q is owned by %v, want its ReplicaSet", back.Name, back.OwnerReferences)
	}
	if pod := s.pod("web"); pod.UID != rescued.UID || !ownedBy(pod, "Deployment") {
		t.Errorf("the rescued pod %q is owned by %v: the drain took it back", pod.Name, pod.OwnerReferences)
	}
	if _, err := drains.client.Undo(s.within(30*time.Second), anyState); err != nil {
		t.Errorf("taking everything back: %v", err)
	}
	if pod := s.pod("web"); pod.UID != rescued.UID || !ownedBy(pod, "ReplicaSet") {
		t.Errorf("the rescued pod %q is owned by %v, want its ReplicaSet: nobody goes on with it", pod.Name, pod.OwnerReferences)
	}
}

func TestADeadlineIsWithdrawnWhereItIsOursStill(t *testing.T) {
	t.Parallel()
	const others = "2030-01-01T00:00:00Z"
	deadline := time.Now().Add(time.Minute)
	cases := map[string]struct {
		// write leads to the annotation of which there is to be said what is left.
		write func(s *stage, client *Client, pod PodRef)
		want  string
	}{
		"one that we told": {func(s *stage, client *Client, pod PodRef) {
			s.must(client.Announce(s.Context(), pod, deadline))
		}, ""},
		"one that the author chose": {func(s *stage, _ *Client, pod PodRef) { s.annotate(pod.Name, DeadlineAnnotation, others) }, others},
		"one that somebody has written over ours": {func(s *stage, client *Client, pod PodRef) {
			s.must(client.Announce(s.Context(), pod, deadline))
			s.annotate(pod.Name, DeadlineAnnotation, others)
		}, others},
		"a word that is no deadline": {func(s *stage, _ *Client, pod PodRef) { s.annotate(pod.Name, DeadlineAnnotation, "please") }, "please"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, 1, web("web", 1))
			client, ref := s.handOvers().client, refOf(s.pod("web"))
			c.write(s, client, ref)
			s.marked(client)
			undone, err := client.UndoDrain(s.within(30*time.Second), anyState)
			if s.must(err); !undone {
				t.Error("there was nothing to undo")
			}
			if got := s.pod("web").Annotations[DeadlineAnnotation]; got != c.want {
				t.Errorf("the pod is told %q, want %q", got, c.want)
			}
		})
	}
}

// A value that is written between the look at the pod and the patch stays.
func TestADeadlineThatOthersWriteInTheSameMomentStays(t *testing.T) {
	t.Parallel()
	const others = "2030-01-01T00:00:00Z"
	s := newStage(t, 1, web("web", 1))
	pod := s.pod("web")
	s.must(s.handOvers().client.Announce(t.Context(), refOf(pod), time.Now().Add(time.Minute)))
	through := s.handOversThrough(func(request *http.Request, next http.RoundTripper) (*http.Response, error) {
		if request.Method == http.MethodPatch && strings.Contains(request.URL.Path, "/pods/") {
			s.annotate(pod.Name, DeadlineAnnotation, others)
		}
		return next.RoundTrip(request)
	})
	s.marked(through.client)
	undone, err := through.client.UndoDrain(s.within(30*time.Second), anyState)
	if s.must(err); !undone {
		t.Error("there was nothing to undo")
	}
	if got := s.pod("web").Annotations[DeadlineAnnotation]; got != others {
		t.Errorf("the pod is told %q, want what others have written", got)
	}
}

func TestAPodOfTheNodeIsKnownByItsName(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, web("web", 1))
	pod := s.pod("web")
	for name, c := range map[string]struct {
		node *lab.Node
		pod  string
		want bool
	}{
		"one that runs here":      {s.doomed, pod.Name, true},
		"one that runs elsewhere": {s.refuge, pod.Name, false},
		"one that nobody knows":   {s.doomed, "web", false},
	} {
		runs, err := s.handOversOf(c.node).client.Runs(t.Context(), c.pod)
		if s.must(err); runs != c.want {
			t.Errorf("%s: %v, want %v", name, runs, c.want)
		}
	}
}
