package drain

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// depot is the volumes of a cluster, as a node's Attachments see them.
type depot struct {
	*Attachments

	t     *testing.T
	store *follower[*storagev1.VolumeAttachment]
	// bound are the volumes of claims, by namespace and name.
	bound map[string]string
	// fails is how often a claim cannot be read.
	fails         int
	reads, busy   int
	watched, most int
}

func newDepot(t *testing.T, bound map[string]string) *depot {
	t.Helper()
	d := &depot{t: t, bound: bound}
	d.Attachments, d.store = newAttachments("n")
	d.watch = func() { d.watched++ }
	d.volume = func(_ context.Context, namespace, name string) (string, error) {
		d.busy++
		d.most = max(d.most, d.busy)
		<-time.After(10 * time.Millisecond)
		d.busy--
		d.reads++
		if d.reads <= d.fails {
			return "", errors.New("the API server is away")
		}
		return d.bound[namespace+"/"+name], nil
	}
	return d
}

// attachment is that of a volume to a node; its UID is made of both.
func attachment(volume, node string) *storagev1.VolumeAttachment {
	return &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: volume, UID: types.UID(volume + "@" + node)},
		Spec: storagev1.VolumeAttachmentSpec{
			NodeName: node, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume},
		},
	}
}

// lists is what the watch shows at first.
func (d *depot) lists(all ...*storagev1.VolumeAttachment) {
	d.t.Helper()
	objects := make([]any, 0, len(all))
	for _, one := range all {
		objects = append(objects, one)
	}
	if err := d.store.Replace(objects, "1"); err != nil {
		d.t.Fatal(err)
	}
}

func (d *depot) detaches(volume string) {
	d.t.Helper()
	if err := d.store.Delete(attachment(volume, "n")); err != nil {
		d.t.Fatal(err)
	}
}

// claiming is a pod with claims, and with a volume of its own for each of made.
func claiming(name string, claims []string, made ...string) *corev1.Pod {
	pod := newPod(name)
	for _, claim := range claims {
		source := &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: claim, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: source}})
	}
	for _, volume := range made {
		source := &corev1.EphemeralVolumeSource{}
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{Ephemeral: source}})
	}
	return pod
}

// longest is how long volumes are waited for in these tests.
const longest = time.Minute

// wait says how long Wait took.
func (d *depot) wait() time.Duration {
	d.t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(d.t.Context(), longest)
	defer cancel()
	d.Wait(ctx)
	return time.Since(began)
}

func TestVolumesOfPodsThatLeaveAreWaitedForAndNoOthers(t *testing.T) {
	t.Parallel()
	bound := map[string]string{"default/data": "pv-data", "default/logs": "pv-logs", "default/db-scratch": "pv-scratch", "default/share": "pv-share"}
	all := []*storagev1.VolumeAttachment{
		attachment("pv-data", "n"), attachment("pv-logs", "n"), attachment("pv-scratch", "n"), attachment("pv-others", "n"),
		attachment("pv-data", "another"),
	}
	const s = time.Second
	cases := map[string]struct {
		pods []*corev1.Pod
		// late is a pod that joins after a second.
		late *corev1.Pod
		// off are the volumes that come off, and when.
		off  map[string]time.Duration
		want time.Duration
		// outcomes are the volumes that are reported, and when they came off.
		outcomes map[string]time.Duration
	}{
		"no pod has any": {
			pods: []*corev1.Pod{newPod("a")}, want: 0, outcomes: map[string]time.Duration{},
		},
		"a pod with two": {
			pods: []*corev1.Pod{claiming("a", []string{"data", "logs"})},
			off:  map[string]time.Duration{"pv-data": 2 * s, "pv-logs": 5 * s}, want: 5 * s,
			outcomes: map[string]time.Duration{"pv-data": 2 * s, "pv-logs": 5 * s},
		},
		"a pod with one that was made for it": {
			pods: []*corev1.Pod{claiming("db", nil, "scratch")}, off: map[string]time.Duration{"pv-scratch": 3 * s},
			want: 3 * s, outcomes: map[string]time.Duration{"pv-scratch": 3 * s},
		},
		"a pod that joins late": {
			pods: []*corev1.Pod{claiming("a", []string{"data"})}, late: claiming("b", []string{"logs"}),
			off: map[string]time.Duration{"pv-data": 2 * s, "pv-logs": 5 * s}, want: 5 * s,
			outcomes: map[string]time.Duration{"pv-data": 2 * s, "pv-logs": 5 * s},
		},
		"a pod with one that is never attached": {
			pods: []*corev1.Pod{claiming("a", []string{"share"})}, want: 10 * time.Millisecond, outcomes: map[string]time.Duration{},
		},
		"a pod whose claim is bound to none": {
			pods: []*corev1.Pod{claiming("a", []string{"unbound"})}, want: 10 * time.Millisecond, outcomes: map[string]time.Duration{},
		},
		"one that does not come off": {
			pods: []*corev1.Pod{claiming("a", []string{"data", "logs"})}, off: map[string]time.Duration{"pv-logs": s},
			want: longest, outcomes: map[string]time.Duration{"pv-data": 0, "pv-logs": s},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began, d := time.Now(), newDepot(t, bound)
				for _, pod := range c.pods {
					d.Follow(t.Context(), pod)
				}
				d.lists(all...)
				for volume, at := range c.off {
					time.AfterFunc(at, func() { d.detaches(volume) })
				}
				if c.late != nil {
					time.AfterFunc(s, func() { d.Follow(t.Context(), c.late) })
				}
				if took := d.wait(); took != c.want {
					t.Errorf("waited for %v, want %v", took, c.want)
				}
				got := map[string]time.Duration{}
				for _, out := range d.Outcomes() {
					got[out.Volume] = 0
					if !out.DetachedAt.IsZero() {
						got[out.Volume] = out.DetachedAt.Sub(began)
					}
				}
				if diff := cmp.Diff(c.outcomes, got); diff != "" {
					t.Errorf("volumes (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestVolumesAreAskedForOnceAndOneAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDepot(t, map[string]string{"default/data": "pv-data", "default/logs": "pv-logs", "default/db": "pv-db"})
		a, b := claiming("a", []string{"data", "logs"}), claiming("b", []string{"db"})
		d.Follow(t.Context(), newPod("none"))
		if d.watched != 0 {
			t.Error("attachments are watched for a pod without volumes")
		}
		for range 3 {
			d.Follow(t.Context(), a)
			d.Follow(t.Context(), b)
		}
		d.lists()
		d.wait()
		if d.reads != 3 || d.most != 1 || d.watched != 1 {
			t.Errorf("3 claims were read %d times, %d at a time, and attachments watched %d times; want 3, 1 and 1", d.reads, d.most, d.watched)
		}
	})
}

func TestAVolumeWhoseClaimCannotBeReadForAWhileIsWaitedForAllTheSame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDepot(t, map[string]string{"default/data": "pv-data"})
		d.fails = 3
		d.lists(attachment("pv-data", "n"))
		d.Follow(t.Context(), claiming("a", []string{"data"}))
		time.AfterFunc(time.Second, func() { d.detaches("pv-data") })
		if took := d.wait(); took < 3*claimAgain || took > 4*claimAgain {
			t.Errorf("waited for %v, want until the claim was read", took)
		}
		if out := d.Outcomes(); len(out) != 1 || out[0].DetachedAt.IsZero() {
			t.Errorf("the volumes are %+v, want one that came off", out)
		}
	})
}

// A volume may be attached when its pod, bound late, has been seen already.
func TestAVolumeThatIsAttachedLateIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDepot(t, map[string]string{"default/data": "pv-data"})
		d.Follow(t.Context(), claiming("late", []string{"data"}))
		d.lists()
		if err := d.store.Add(attachment("pv-data", "n")); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(2*time.Second, func() { d.detaches("pv-data") })
		if took := d.wait(); took != 2*time.Second {
			t.Errorf("waited for %v, want the 2s that the volume took", took)
		}
	})
}

func TestNothingIsKnownOfVolumesBeforeTheyAreListed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDepot(t, map[string]string{"default/data": "pv-data"})
		d.Follow(t.Context(), claiming("a", []string{"data"}))
		time.AfterFunc(2*time.Second, func() { d.lists() })
		if took := d.wait(); took != 2*time.Second {
			t.Errorf("waited for %v, want until they were listed", took)
		}
	})
}
