package drain

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// annotated returns the annotations of a pod after a merge patch of them.
func annotated(pod *corev1.Pod, patch map[string]*string) map[string]string {
	after := maps.Clone(pod.Annotations)
	for key, value := range patch {
		if value == nil {
			delete(after, key)
		} else {
			after[key] = *value
		}
	}
	return after
}

func TestHandOverPutsADeletionCostAsideAndGivesItBack(t *testing.T) {
	t.Parallel()
	const cost, aside = corev1.PodDeletionCost, DeletionCostAnnotation
	cases := map[string]struct{ before, raised, after map[string]string }{
		"a pod without one": {
			map[string]string{},
			map[string]string{cost: dearest, aside: ""},
			map[string]string{},
		},
		"a pod with one": {
			map[string]string{cost: "-5", "x": "y"},
			map[string]string{cost: dearest, aside: "-5", "x": "y"},
			map[string]string{cost: "-5", "x": "y"},
		},
		"a pod whose own is the highest": {
			map[string]string{cost: dearest},
			map[string]string{cost: dearest, aside: dearest},
			map[string]string{cost: dearest},
		},
		"a pod whose own is aside already": {
			map[string]string{cost: dearest, aside: "7"},
			map[string]string{cost: dearest, aside: "7"},
			map[string]string{cost: "7"},
		},
		"a pod that was given another while its own was aside": {
			map[string]string{cost: "9", aside: "7"},
			map[string]string{cost: dearest, aside: "9"},
			map[string]string{cost: "9"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := newPod("a")
			pod.Annotations = c.before
			patch := map[string]*string{}
			raiseCost(pod, patch)
			raised := annotated(pod, patch)
			if diff := cmp.Diff(c.raised, raised); diff != "" {
				t.Errorf("raised (-want +got):\n%s", diff)
			}
			pod.Annotations = raised
			if diff := cmp.Diff(c.after, annotated(pod, restoreCostPatch(pod).Metadata.Annotations)); diff != "" {
				t.Errorf("given back (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHandOverLeavesADeletionCostThatWasSetMeanwhile(t *testing.T) {
	t.Parallel()
	pod := newPod("a")
	pod.Annotations = map[string]string{corev1.PodDeletionCost: "9", DeletionCostAnnotation: "7"}
	want := map[string]string{corev1.PodDeletionCost: "9"}
	if diff := cmp.Diff(want, annotated(pod, restoreCostPatch(pod).Metadata.Annotations)); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
}

// costing is web, with one pod that has a deletion cost of its own.
func costing(cost string) string {
	return web("web", 1, "annotations: {", "annotations: {"+corev1.PodDeletionCost+": \""+cost+"\", ")
}

func TestHandOverThatIsUndoneLeavesThePodItsOwnDeletionCost(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		manifest string
		// until is how far the hand-over has come.
		until func(s *stage)
		undo  func(s *stage, h *HandOvers, ref PodRef)
	}{
		"one with a cost, before there is a replacement": {
			costing("-5"), func(*stage) {}, (*stage).undone,
		},
		"one with a cost, when the replacement is as ready": {
			costing("-5"), func(s *stage) { s.waitPods(10*time.Second, lab.AllReady(2)) }, (*stage).undone,
		},
		"one without a cost": {
			web("web", 1), func(s *stage) { s.waitPods(10*time.Second, lab.AllReady(2)) }, (*stage).undone,
		},
		"one whose agent was killed before it gave the cost back": {
			costing("7"), func(s *stage) { s.waitPods(10*time.Second, lab.AllReady(2)) },
			func(s *stage, h *HandOvers, ref PodRef) {
				_, err := h.takeBack(s.within(10*time.Second), ref)
				s.must(err)
				if pod := s.pod("web"); pod.Annotations[DeletionCostAnnotation] != "7" {
					s.Fatalf("the pod's own cost is not with the pod: %v", pod.Annotations)
				}
				s.undoneNode()
			},
		},
		"one of a node that is given back": {
			costing("7"), func(s *stage) { s.waitPods(10*time.Second, lab.AllReady(2)) },
			func(s *stage, _ *HandOvers, _ PodRef) { s.undoneNode() },
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, 1, c.manifest)
			h, old := s.handOvers(), s.pod("web")
			ref := s.begun(h, old)
			c.until(s)
			c.undo(s, h, ref)
			s.isBack(old)
		})
	}
}

// undone takes back a pod that is handed over.
func (s *stage) undone(h *HandOvers, ref PodRef) {
	s.Helper()
	undone, err := h.Undo(s.within(10*time.Second), ref)
	if s.must(err); !undone {
		s.Fatal("it was not undone")
	}
}

// undoneNode takes back what was done to the doomed node, as another agent does
// when its notice has lapsed.
func (s *stage) undoneNode() {
	s.Helper()
	client := s.handOvers().client
	_, err := client.Mark(s.Context(), State{Notice: "notice-1", Kind: "SpotInterruption"})
	s.must(err)
	undone, err := client.UndoDrain(s.within(10*time.Second), anyState)
	if s.must(err); !undone {
		s.Fatal("there was nothing to undo")
	}
}

// anyState lets every state be undone.
func anyState(State) bool { return true }

// Without its controller the ReplicaSet cannot choose: the pod stays dear until it
// has, and the node keeps its state, put back as it is, so that somebody tries again.
func TestHandOverKeepsThePodDearUntilItsReplicaSetHasChosen(t *testing.T) {
	t.Parallel()
	s := newStageOf(t, lab.New(t), 1, costing("-5"))
	h, old := s.handOvers(), s.pod("web")
	ref := s.begun(h, old)
	s.waitPods(30*time.Second, lab.AllReady(2))
	s.must(s.lab.Pause(lab.ControllerManager))
	undone, err := h.Undo(s.within(30*time.Second), ref)
	if !undone || !errors.Is(err, errUndecided) {
		t.Errorf("the undo says %v, %v; want the pod back, and that nothing was chosen", undone, err)
	}
	if got := s.pod(old.Name).Annotations; got[corev1.PodDeletionCost] != dearest || got[DeletionCostAnnotation] != "-5" {
		t.Errorf("the pod carries %v, want it dear", got)
	}
	_, err = h.client.Mark(t.Context(), State{Notice: "notice-1"})
	s.must(err)
	if undone, err := h.client.UndoDrain(s.within(30*time.Second), anyState); !undone || !errors.Is(err, errUndecided) {
		t.Errorf("the node's undo says %v, %v; want it put back, and to be asked again for the pod", undone, err)
	}
	s.must(s.lab.Resume(lab.ControllerManager))
	s.waitPods(30*time.Second, func(pods []corev1.Pod) bool { return len(pods) == 1 })
	undone, err = h.client.UndoDrain(s.within(30*time.Second), anyState)
	if s.must(err); !undone {
		t.Error("the node's undo found nothing to undo")
	}
	s.isBack(old)
}

// slowly is an API server on which a ReplicaSet has a pod too many. It answers the
// first look, and lets whoever looks again wait for the end of his patience.
type slowly struct{ asked atomic.Int32 }

func (s *slowly) RoundTrip(request *http.Request) (*http.Response, error) {
	const looks = 2 // requests of one look
	if s.asked.Add(1) > looks {
		<-request.Context().Done()
		return nil, request.Context().Err()
	}
	if strings.HasSuffix(request.URL.Path, "/pods") {
		const pod = `{"metadata": {"ownerReferences": [{"uid": "uid-rs", "controller": true}]}}`
		return answer(request, http.StatusOK, `{"kind": "PodList", "apiVersion": "v1", "items": [`+pod+`, `+pod+`]}`), nil
	}
	return answer(request, http.StatusOK, `{"kind": "ReplicaSet", "apiVersion": "apps/v1", "metadata": {"uid": "uid-rs"}, "spec": {"replicas": 1}}`), nil
}

func TestHandOverIsUndecidedAlsoWhereTheTimeIsUpInTheMiddleOfARequest(t *testing.T) {
	t.Parallel()
	controller := true
	pod := newPod("a")
	pod.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "rs", UID: "uid-rs", Controller: &controller}}
	synctest.Test(t, func(t *testing.T) {
		client, err := NewClient(&rest.Config{Host: "http://nowhere.invalid", Transport: &slowly{}}, "n")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := client.awaitChoice(t.Context(), pod); !errors.Is(err, errUndecided) {
			t.Errorf("the wait says %v, want %v", err, errUndecided)
		}
		if took := time.Since(began); took != choiceWait {
			t.Errorf("it took %v, want %v", took, choiceWait)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := client.awaitChoice(ended, pod); !errors.Is(err, context.Canceled) {
			t.Errorf("a wait that is called off says %v", err)
		}
	})
}

// A write of others between the look at a pod and the patch is a reason to look
// again, and what they wrote stays.
func TestHandOverIsUndoneBesideOtherWriters(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, costing("7"))
	old := s.pod("web")
	ref := s.begun(s.handOvers(), old)
	patches := 0
	h := s.handOversThrough(func(request *http.Request, next http.RoundTripper) (*http.Response, error) {
		if request.Method == http.MethodPatch {
			// The first and the third: one of each kind comes too late.
			if patches++; patches%2 == 1 {
				s.annotate(old.Name, "example.com/patches", strconv.Itoa(patches))
			}
		}
		return next.RoundTrip(request)
	})
	s.undone(h, ref)
	s.isBack(old)
	if patches != 4 || s.pod(old.Name).Annotations["example.com/patches"] != "3" {
		t.Errorf("%d patches left %v, want two that came too late and what others wrote", patches, s.pod(old.Name).Annotations)
	}
}

// annotate writes an annotation as somebody else.
func (s *stage) annotate(pod, key, value string) {
	s.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, key, value)
	_, err := s.lab.Client().CoreV1().Pods(s.namespace).Patch(s.Context(), pod, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		s.Errorf("annotating pod %q: %v", pod, err)
	}
}
