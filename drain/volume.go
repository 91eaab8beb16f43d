package drain

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
)

// VolumeOutcome says what became of one volume that was attached to the node.
type VolumeOutcome struct {
	// Volume is the name of the PersistentVolume, or of the attachment where the
	// volume is defined in the pod itself.
	Volume string `json:"volume"`
	// DetachedAt is when its VolumeAttachment was gone; zero when it was not.
	// Only then can another machine attach it.
	DetachedAt time.Time `json:"detachedAt,omitzero"`
}

// Attachments follows the volumes that were attached to the node when it was
// made. It only watches: a volume is detached when its pod is gone, by the
// controllers that know it. The taint node.kubernetes.io/out-of-service, which
// detaches by force, is never set here: on a machine that still runs it breaks
// filesystems.
type Attachments struct {
	mu       sync.Mutex
	synced   bool
	volumes  map[types.UID]*VolumeOutcome
	changed  chan struct{}
	nodeName string
}

// newAttachments returns the attachments of a node, and what fills them.
func newAttachments(nodeName string) (*Attachments, *follower[*storagev1.VolumeAttachment]) {
	a := &Attachments{volumes: map[types.UID]*VolumeOutcome{}, changed: make(chan struct{}, 1), nodeName: nodeName}
	return a, &follower[*storagev1.VolumeAttachment]{
		known: map[types.UID]*storagev1.VolumeAttachment{},
		first: a.begin,
		change: func(attachment *storagev1.VolumeAttachment, gone bool) {
			if gone {
				a.detached(attachment.UID, time.Now())
			}
		},
	}
}

func (a *Attachments) begin(all []*storagev1.VolumeAttachment) {
	a.mu.Lock()
	for _, attachment := range all {
		if attachment.Spec.NodeName == a.nodeName {
			a.volumes[attachment.UID] = &VolumeOutcome{Volume: volumeName(attachment)}
		}
	}
	a.synced = true
	a.mu.Unlock()
	a.wake()
}

func (a *Attachments) detached(uid types.UID, now time.Time) {
	a.mu.Lock()
	if volume := a.volumes[uid]; volume != nil {
		volume.DetachedAt = now
	}
	a.mu.Unlock()
	a.wake()
}

func (a *Attachments) wake() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

func volumeName(attachment *storagev1.VolumeAttachment) string {
	if name := attachment.Spec.Source.PersistentVolumeName; name != nil {
		return *name
	}
	return attachment.Name
}

// Wait returns when every volume is detached, or when ctx ends.
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
	for _, volume := range a.volumes {
		if volume.DetachedAt.IsZero() {
			return false
		}
	}
	return a.synced
}

// Outcomes returns what is known of each volume, by name.
func (a *Attachments) Outcomes() []VolumeOutcome {
	a.mu.Lock()
	defer a.mu.Unlock()
	outcomes := make([]VolumeOutcome, 0, len(a.volumes))
	for _, volume := range a.volumes {
		outcomes = append(outcomes, *volume)
	}
	slices.SortFunc(outcomes, func(a, b VolumeOutcome) int { return strings.Compare(a.Volume, b.Volume) })
	return outcomes
}

// WatchAttachments follows the volumes that are attached to the node now, until
// ctx ends. One request.
func (c *Client) WatchAttachments(ctx context.Context) *Attachments {
	attachments, store := newAttachments(c.name)
	// The API server selects attachments by nothing but their name.
	go c.reflect(ctx, "/apis/storage.k8s.io/v1/volumeattachments", fields.Everything(),
		&storagev1.VolumeAttachment{}, &storagev1.VolumeAttachmentList{}, store)
	return attachments
}

// HasVolumes says whether a pod of the plan has volumes that have to be detached.
func (p *Plan) HasVolumes() bool {
	return slices.ContainsFunc(p.Moves, func(m Move) bool { return m.DetachSeconds > 0 })
}
