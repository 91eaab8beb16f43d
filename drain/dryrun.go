package drain

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DryRun is a [Client] whose writes are rehearsed on the API server and change
// nothing. A pod whose eviction would have been accepted is told to the feed as
// gone, so that a drain runs through to its report.
type DryRun struct {
	*Client

	mu   sync.Mutex
	feed *Feed
}

// NewDryRun returns a rehearsing twin of client.
func NewDryRun(client *Client) *DryRun {
	twin := *client
	twin.dryRun = []string{metav1.DryRunAll}
	return &DryRun{Client: &twin}
}

// Watch follows the node's pods, as [Client.Watch] does.
func (d *DryRun) Watch(ctx context.Context) *Feed {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.feed = d.Client.Watch(ctx)
	return d.feed
}

// Evict rehearses an eviction.
func (d *DryRun) Evict(ctx context.Context, pod PodRef, grace time.Duration) error {
	err := d.Client.Evict(ctx, pod, grace)
	if err == nil {
		d.pretend(pod)
	}
	return err
}

// Delete rehearses a deletion.
func (d *DryRun) Delete(ctx context.Context, pod PodRef, grace time.Duration) error {
	err := d.Client.Delete(ctx, pod, grace)
	if err == nil {
		d.pretend(pod)
	}
	return err
}

// Attachments follows nothing: no pod goes, and no volume comes off.
func (d *DryRun) Attachments(context.Context) *Attachments { return &Attachments{} }

// Exclude rehearses leaving the load balancers. The node carries no state that
// it could be noted in, since its cordon was rehearsed too.
func (d *DryRun) Exclude(ctx context.Context) (bool, error) {
	node, err := d.Get(ctx)
	if err != nil {
		return false, err
	}
	patch, needed := excludePatch(node, State{})
	if !needed {
		return false, nil
	}
	return true, d.patchNode(ctx, "excluding from load balancers", patch, d.dryRun)
}

func (d *DryRun) pretend(pod PodRef) {
	d.mu.Lock()
	feed := d.feed
	d.mu.Unlock()
	if feed != nil {
		feed.pretend(pod)
	}
}
