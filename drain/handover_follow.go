package drain

import (
	"context"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// following is one Deployment as a watch shows it, for all who wait for its pods.
type following struct {
	uid types.UID
	// users is guarded by the mutex of HandOvers; the last one stops the watch.
	users int
	stop  context.CancelFunc
	ended chan struct{}

	mu         sync.Mutex
	deployment *appsv1.Deployment // nil before the first sight
	gone       bool
	changed    chan struct{} // closed, and made anew, at each change
}

// follow begins to watch the Deployment of a hand-over, or joins those who do.
func (h *HandOvers) follow(ctx context.Context, b begun) *following {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.followings[b.uid]
	if f == nil {
		// Not the context of the first to wait: others go on when that has ended.
		watching, stop := context.WithCancel(context.WithoutCancel(ctx))
		f = &following{uid: b.uid, stop: stop, ended: make(chan struct{}), changed: make(chan struct{})}
		h.followings[b.uid] = f
		go func() {
			defer close(f.ended)
			h.client.followDeployment(watching, b.deployment, f.store())
		}()
	}
	f.users++
	return f
}

// unfollow ends one's interest; nothing runs on when the last one has left.
func (h *HandOvers) unfollow(f *following) {
	h.mu.Lock()
	f.users--
	last := f.users == 0
	if last {
		delete(h.followings, f.uid)
	}
	h.mu.Unlock()
	if last {
		f.stop()
		<-f.ended
	}
}

// look returns the Deployment, whether it is gone, and a channel that is closed
// when that has changed.
func (f *following) look() (deployment *appsv1.Deployment, gone bool, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.deployment, f.gone, f.changed
}

// store returns what a watch of the Deployment's name writes to. A namesake is
// another Deployment, whose sight means that ours is gone.
func (f *following) store() cache.ReflectorStore {
	return &follower[*appsv1.Deployment]{
		known: map[types.UID]*appsv1.Deployment{},
		first: func(all []*appsv1.Deployment) {
			if len(all) == 0 {
				f.see(nil, true)
			}
			for _, deployment := range all {
				f.see(deployment, false)
			}
		},
		change: f.see,
	}
}

func (f *following) see(deployment *appsv1.Deployment, gone bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = f.gone || gone || deployment.UID != f.uid || deployment.DeletionTimestamp != nil
	f.deployment = deployment
	close(f.changed)
	f.changed = make(chan struct{})
}
