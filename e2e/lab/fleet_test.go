package lab

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// machine is a fleet of one node whose API server is never called: what happens to
// pods is the machine's own business, and the tests of it need no network.
func machine(t *testing.T) (*fleet, *Node) {
	t.Helper()
	f, err := newFleet(&rest.Config{Host: "https://" + loopback(1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	n, err := f.register("node", func() {})
	if err != nil {
		t.Fatal(err)
	}
	return f, n
}

func podOn(node string, uid types.UID, annotations map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: uid, Annotations: annotations},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "web"}}},
	}
}

func deletedPod(pod *corev1.Pod, grace int64) *corev1.Pod {
	pod = pod.DeepCopy()
	now := metav1.Now()
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &now, &grace
	return pod
}

// moments is a record with its times counted from the pod's arrival.
type moments struct {
	End         End
	Told, Ended time.Duration
	Grace       time.Duration
	Phase       corev1.PodPhase
	ExitCode    int32
}

func TestPodOnMachine(t *testing.T) {
	const arrival, second = 0, time.Second
	type step struct {
		at time.Duration
		do func(f *fleet, n *Node, p *corev1.Pod)
	}
	remove := func(grace int64) func(*fleet, *Node, *corev1.Pod) {
		return func(f *fleet, _ *Node, p *corev1.Pod) { f.observe(p, deletedPod(p, grace)) }
	}
	die := func(_ *fleet, n *Node, _ *corev1.Pod) { n.Die() }
	vanish := func(f *fleet, _ *Node, p *corev1.Pod) { f.observe(p, nil) }

	tests := map[string]struct {
		annotations map[string]string
		steps       []step
		want        moments
	}{
		"A pod that nobody deletes runs": {
			want: moments{End: Running, Phase: corev1.PodRunning},
		},
		"A pod that is told to stop exits a second later": {
			steps: []step{{10 * second, remove(30)}},
			want:  moments{End: Exited, Told: 10 * second, Grace: 30 * second, Ended: 11 * second, Phase: corev1.PodSucceeded},
		},
		"A pod that needs longer than its grace is killed when the grace is over": {
			annotations: map[string]string{ExitsAfter: "1m"},
			steps:       []step{{10 * second, remove(30)}},
			want:        moments{End: Killed, Told: 10 * second, Grace: 30 * second, Ended: 40 * second, Phase: corev1.PodFailed, ExitCode: 137},
		},
		"A pod that needs exactly its grace exits": {
			annotations: map[string]string{ExitsAfter: "30s"},
			steps:       []step{{10 * second, remove(30)}},
			want:        moments{End: Exited, Told: 10 * second, Grace: 30 * second, Ended: 40 * second, Phase: corev1.PodSucceeded},
		},
		"A shorter grace that follows is ignored": {
			annotations: map[string]string{ExitsAfter: "20s"},
			steps:       []step{{10 * second, remove(30)}, {11 * second, remove(2)}},
			want:        moments{End: Exited, Told: 10 * second, Grace: 30 * second, Ended: 30 * second, Phase: corev1.PodSucceeded},
		},
		"A pod deleted with grace 0 vanishes from the API and is killed a second later": {
			annotations: map[string]string{ExitsAfter: "20s"},
			steps:       []step{{10 * second, vanish}},
			want:        moments{End: Killed, Told: 10 * second, Ended: 11 * second, Phase: corev1.PodFailed, ExitCode: 137},
		},
		"A pod that is forced out of the API while it stops keeps its first grace": {
			annotations: map[string]string{ExitsAfter: "20s"},
			steps:       []step{{10 * second, remove(30)}, {12 * second, vanish}},
			want:        moments{End: Exited, Told: 10 * second, Grace: 30 * second, Ended: 30 * second, Phase: corev1.PodSucceeded},
		},
		"A pod completes by itself, counted from Ready": {
			annotations: map[string]string{ReadyAfter: "3s", CompletesAfter: "5s"},
			want:        moments{End: Completed, Ended: 8 * second, Phase: corev1.PodSucceeded},
		},
		"A completed pod that is deleted was never told": {
			annotations: map[string]string{CompletesAfter: "5s"},
			steps:       []step{{20 * second, remove(30)}},
			want:        moments{End: Completed, Ended: 7 * second, Phase: corev1.PodSucceeded},
		},
		"Work that is told to stop before it completes has failed": {
			annotations: map[string]string{CompletesAfter: "60s"},
			steps:       []step{{10 * second, remove(30)}},
			want:        moments{End: Exited, Told: 10 * second, Grace: 30 * second, Ended: 11 * second, Phase: corev1.PodFailed, ExitCode: 143},
		},
		"A pod that is told to stop before it is Ready has failed": {
			annotations: map[string]string{ReadyAfter: "never"},
			steps:       []step{{10 * second, remove(30)}},
			want:        moments{End: Exited, Told: 10 * second, Grace: 30 * second, Ended: 11 * second, Phase: corev1.PodFailed, ExitCode: 143},
		},
		"A pod whose machine dies is lost": {
			steps: []step{{10 * second, die}},
			want:  moments{End: Lost, Ended: 10 * second},
		},
		"A pod whose machine dies within its grace is lost": {
			annotations: map[string]string{ExitsAfter: "20s"},
			steps:       []step{{10 * second, remove(30)}, {15 * second, die}},
			want:        moments{End: Lost, Told: 10 * second, Grace: 30 * second, Ended: 15 * second},
		},
		"A pod that exited before its machine died is not lost": {
			steps: []step{{10 * second, remove(30)}, {15 * second, die}},
			want:  moments{End: Exited, Told: 10 * second, Grace: 30 * second, Ended: 11 * second, Phase: corev1.PodSucceeded},
		},
		"A deletion after the machine's death changes nothing": {
			steps: []step{{10 * second, die}, {12 * second, remove(30)}},
			want:  moments{End: Lost, Ended: 10 * second},
		},
		"A machine that is to die later takes its pods along at that moment": {
			steps: []step{{arrival, func(_ *fleet, n *Node, _ *corev1.Pod) { n.DieAt(time.Now().Add(42 * second)) }}},
			want:  moments{End: Lost, Ended: 42 * second},
		},
		"A later moment of death replaces the earlier one": {
			steps: []step{
				{arrival, func(_ *fleet, n *Node, _ *corev1.Pod) { n.DieAt(time.Now().Add(20 * second)) }},
				{10 * second, func(_ *fleet, n *Node, _ *corev1.Pod) { n.DieAt(time.Now().Add(40 * second)) }},
			},
			want: moments{End: Lost, Ended: 50 * second},
		},
		"A pod with an annotation that cannot be read stays Pending": {
			annotations: map[string]string{ExitsAfter: "soon"},
			want:        moments{End: Running, Phase: corev1.PodPending},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, n := machine(t)
				object, began := podOn(n.name, "1", test.annotations), time.Now()
				f.observe(nil, object)
				for _, s := range test.steps {
					<-time.After(time.Until(began.Add(s.at)))
					s.do(f, n, object)
				}
				<-time.After(10 * time.Minute)
				r := f.records()[0]
				got := moments{End: r.End, Told: since(began, r.ToldAt), Ended: since(began, r.EndedAt), Grace: r.Grace}
				if r.End != Lost { // of a lost pod nobody reports anything
					got.Phase = f.pods["1"].phase()
					if f.pods["1"].ended() {
						got.ExitCode = f.pods["1"].exitCode()
					}
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("the pod's life differs (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func since(began, at time.Time) time.Duration {
	if at.IsZero() {
		return 0
	}
	return at.Sub(began)
}

func TestPodThatReachesDeadMachineIsLostBeforeItRan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, n := machine(t)
		n.Die()
		f.observe(nil, podOn(n.name, "1", nil))
		r := f.records()[0]
		if r.End != Lost || !r.StartedAt.IsZero() {
			t.Errorf("record = %+v, want lost and never started", r)
		}
	})
}

func TestPodThatWasBoundBeforeItsNodeExistedRunsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := machine(t)
		f.observe(nil, podOn("late", "1", nil))
		f.observe(nil, podOn("foreign", "2", nil))
		if got := f.records(); len(got) != 0 {
			t.Fatalf("records = %+v, want none: no machine of ours has a pod", got)
		}
		if _, err := f.register("late", func() {}); err != nil {
			t.Fatal(err)
		}
		if got := f.records(); len(got) != 1 || got[0].Node != "late" {
			t.Errorf("records = %+v, want the one pod of node late", got)
		}
	})
}

func TestPodsHaveAddressesOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, n := machine(t)
		seen := map[string]bool{n.ip.String(): true}
		for _, uid := range []types.UID{"1", "2", "3"} {
			f.observe(nil, podOn(n.name, uid, nil))
			<-time.After(time.Minute)
			ip := f.pods[uid].status().PodIP
			if ip == "" || seen[ip] {
				t.Errorf("pod %s has address %q, want one that no other has", uid, ip)
			}
			seen[ip] = true
		}
		hosted := podOn(n.name, "hosted", nil)
		hosted.Spec.HostNetwork = true
		f.observe(nil, hosted)
		<-time.After(time.Minute)
		if got := f.pods["hosted"].status().PodIP; got != n.ip.String() {
			t.Errorf("a pod on the host's network has address %q, want the node's %q", got, n.ip)
		}
	})
}

func TestWatchSendsEveryChangeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, n := machine(t)
		l := &Lab{fleet: f}
		object := podOn(n.name, "1", nil)
		f.observe(nil, object)
		records := l.Watch(t.Context())
		first := <-records
		f.observe(object, deletedPod(object, 30))
		told, ended := <-records, <-records
		if first.End != Running || !first.ToldAt.IsZero() {
			t.Errorf("first = %+v, want the running pod as it was at the call", first)
		}
		if told.End != Running || told.Grace != 30*time.Second {
			t.Errorf("second = %+v, want the running pod, told to stop", told)
		}
		if ended.End != Exited {
			t.Errorf("third = %+v, want the pod at its end", ended)
		}
		f.close()
		if _, open := <-records; open {
			t.Error("the channel is open after the lab was closed")
		}
	})
}
