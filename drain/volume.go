package drain

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
)

// VolumeOutcome says what became of one volume of a pod that had to leave, and that
// was attached to the node.
type VolumeOutcome struct {
	// Volume is the name of the PersistentVolume.
	Volume string `json:"volume"`
	// DetachedAt is when its VolumeAttachment was gone; zero when it was not.
	// Only then can another machine attach it.
	DetachedAt time.Time `json:"detachedAt,omitzero"`
}

// Attachments follows the volumes of pods that leave a node. It only watches: a
// volume is detached when its pod is gone, by the controllers that know it. The
// taint node.kubernetes.io/out-of-service, which detaches by force, is never set
// here: on a machine that still runs it breaks filesystems. The zero value follows
// nothing.
type Attachments struct {
	nodeName string
	// watch begins to follow the attachments of all volumes.
	watch func()
	// volume reads the name of the volume that a claim is bound to, empty where it
	// is bound to none. Whoever holds reading may call it: what a drain is for goes
	// before what it reports.
	volume  func(ctx context.Context, namespace, claim string) (string, error)
	reading lock
	changed chan struct{}

	mu     sync.Mutex
	synced bool
	// attached are the attachments of the node, gone ones too.
	attached map[types.UID]*VolumeOutcome
	// pods are those that are followed, volumes the names of their volumes; of
	// unread claims that is not known so far.
	pods    map[types.UID]bool
	volumes map[string]bool
	unread  int
}

// claimAgain is the pause after a claim that could not be read.
const claimAgain = time.Second

// newAttachments returns the attachments of a node, and what fills them.
func newAttachments(nodeName string) (*Attachments, *follower[*storagev1.VolumeAttachment]) {
	a := &Attachments{
		nodeName: nodeName, reading: newLock(), changed: make(chan struct{}, 1),
		attached: map[types.UID]*VolumeOutcome{}, pods: map[types.UID]bool{}, volumes: map[string]bool{},
	}
	return a, &follower[*storagev1.VolumeAttachment]{
		known: map[types.UID]*storagev1.VolumeAttachment{},
		first: func(all []*storagev1.VolumeAttachment) {
			for _, attachment := range all {
				a.see(attachment, false, time.Now())
			}
			a.update(func() { a.synced = true })
		},
		change: func(attachment *storagev1.VolumeAttachment, gone bool) { a.see(attachment, gone, time.Now()) },
	}
}

// Follow takes the volumes of a pod in, if it has any. It may be called again for
// the same pod, returns at once, and goes on until ctx ends. One request for each
// claim of the pod, one at a time.
func (a *Attachments) Follow(ctx context.Context, pod *corev1.Pod) {
	claims := claimsOf(pod)
	if a.watch == nil || len(claims) == 0 {
		return
	}
	a.mu.Lock()
	first, known := len(a.pods) == 0, a.pods[pod.UID]
	if !known {
		a.pods[pod.UID] = true
		a.unread += len(claims)
	}
	a.mu.Unlock()
	if first {
		a.watch()
	}
	if !known {
		go func() {
			for _, claim := range claims {
				a.read(ctx, pod.Namespace, claim)
			}
		}()
	}
}

// claimsOf returns the names of the pod's claims. That of a volume made for the pod
// alone follows from their names.
func claimsOf(pod *corev1.Pod) []string {
	var claims []string
	for i := range pod.Spec.Volumes {
		switch volume := &pod.Spec.Volumes[i]; {
		case volume.PersistentVolumeClaim != nil:
			claims = append(claims, volume.PersistentVolumeClaim.ClaimName)
		case volume.Ephemeral != nil:
			claims = append(claims, pod.Name+"-"+volume.Name)
		}
	}
	return claims
}

// read asks for the volume of a claim until it knows or ctx ends.
func (a *Attachments) read(ctx context.Context, namespace, claim string) {
	for a.reading.acquire(ctx) == nil {
		asking, cancel := context.WithTimeout(ctx, callTimeout)
		volume, err := a.volume(asking, namespace, claim)
		cancel()
		a.reading.release()
		if err == nil {
			a.update(func() {
				a.unread--
				a.volumes[volume] = true
			})
			return
		}
		if pause(ctx, claimAgain, nil) != nil {
			return
		}
	}
}

// see takes in what the watch shows of an attachment, of whichever node.
func (a *Attachments) see(attachment *storagev1.VolumeAttachment, gone bool, now time.Time) {
	name := attachment.Spec.Source.PersistentVolumeName
	if attachment.Spec.NodeName != a.nodeName || name == nil {
		return // a volume that is no object of its own is in no claim
	}
	a.update(func() {
		known := a.attached[attachment.UID]
		if known == nil {
			known = &VolumeOutcome{Volume: *name}
			a.attached[attachment.UID] = known
		}
		if gone {
			known.DetachedAt = now
		}
	})
}

// update changes what is known, and wakes Wait.
func (a *Attachments) update(change func()) {
	a.mu.Lock()
	change()
	a.mu.Unlock()
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// Wait returns when the volumes of every pod that is followed are detached, or when
// ctx ends.
func (a *Attachments) Wait(ctx context.Context) {
	for !a.allDetached() {
		select {
		case <-a.changed:
		case <-ctx.Done():
			return
		}
	}
}

func (a *Attachments) allDetached() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.pods) == 0 {
		return true
	}
	for _, volume := range a.attached {
		if a.volumes[volume.Volume] && volume.DetachedAt.IsZero() {
			return false
		}
	}
	return a.synced && a.unread == 0
}

// Outcomes returns what is known of each volume of the pods that are followed, by
// name; none of those that were never attached, as network filesystems are not.
func (a *Attachments) Outcomes() []VolumeOutcome {
	a.mu.Lock()
	defer a.mu.Unlock()
	var outcomes []VolumeOutcome
	for _, volume := range a.attached {
		if a.volumes[volume.Volume] {
			outcomes = append(outcomes, *volume)
		}
	}
	slices.SortFunc(outcomes, func(a, b VolumeOutcome) int { return strings.Compare(a.Volume, b.Volume) })
	return outcomes
}

// Attachments returns what follows the volumes of the node's pods, until ctx ends.
// It asks nothing before the first pod with volumes is followed, and then watches:
// one request.
func (c *Client) Attachments(ctx context.Context) *Attachments {
	attachments, store := newAttachments(c.name)
	attachments.volume = c.volumeOf
	attachments.watch = func() {
		// The API server selects attachments by nothing but their name.
		go c.reflect(ctx, "/apis/storage.k8s.io/v1/volumeattachments", fields.Everything(),
			&storagev1.VolumeAttachment{}, &storagev1.VolumeAttachmentList{}, store)
	}
	return attachments
}

// volumeOf reads which volume a claim is bound to; none, if there is no such claim.
func (c *Client) volumeOf(ctx context.Context, namespace, name string) (string, error) {
	var claim corev1.PersistentVolumeClaim
	err := c.read(ctx, "claim", coreGroup, namespace, "persistentvolumeclaims", name, &claim)
	return claim.Spec.VolumeName, ignoreNotFound(err)
}
