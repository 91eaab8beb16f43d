package lab

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// End is what became of a pod on its node.
type End string

// The ends of a pod. Only Lost is a failure of whoever had to empty the node;
// Killed means that the pod needed longer than its grace.
const (
	Running   End = "Running"   // it has not ended
	Exited    End = "Exited"    // told to stop, it ended by itself within its grace
	Killed    End = "Killed"    // told to stop, it was still there when its grace was over
	Completed End = "Completed" // it ended by itself before anybody told it to
	Lost      End = "Lost"      // its machine went away under it
)

// PodRecord is the life of one pod as its node saw it. A time is zero until the
// event has happened.
type PodRecord struct {
	Namespace, Name      string
	UID                  types.UID
	Node                 string
	OwnerKind, OwnerName string        // of the controller; empty for a bare pod
	StartedAt            time.Time     // the node saw the pod; zero when the machine was dead before that
	ReadyAt              time.Time     // the API server had accepted that the pod is Ready
	ToldAt               time.Time     // SIGTERM
	Grace                time.Duration // granted with SIGTERM; zero also for a pod that vanished from the API at once
	EndedAt              time.Time     // the last process was gone, whatever the API server knew then
	End                  End
}

// Records returns the record of every pod that simulated nodes have seen, those
// long gone too, in the order in which they were seen.
func (l *Lab) Records() []PodRecord { return l.fleet.records() }

// Watch sends every record as it is now and then each one again whenever it
// changes, in order and without loss. The channel is closed when ctx or the lab ends;
// until then somebody should read, since what is unread is kept.
func (l *Lab) Watch(ctx context.Context) <-chan PodRecord {
	f := l.fleet
	s := &subscription{wake: make(chan struct{}, 1)}
	f.mu.Lock()
	f.subscriptions[s] = true
	for _, p := range f.seen {
		s.push(p.record)
	}
	f.mu.Unlock()

	out := make(chan PodRecord)
	go func() {
		defer close(out)
		defer func() {
			f.mu.Lock()
			delete(f.subscriptions, s)
			f.mu.Unlock()
		}()
		for {
			f.mu.Lock()
			batch := s.unread
			s.unread = nil
			f.mu.Unlock()
			for _, record := range batch {
				select {
				case out <- record:
				case <-ctx.Done():
					return
				case <-f.closed:
					return
				}
			}
			select {
			case <-s.wake:
			case <-ctx.Done():
				return
			case <-f.closed:
				return
			}
		}
	}()
	return out
}

// subscription is what one reader of Watch has not read. The fleet's mutex guards it.
type subscription struct {
	unread []PodRecord
	wake   chan struct{}
}

func (s *subscription) push(r PodRecord) {
	s.unread = append(s.unread, r)
	select {
	case s.wake <- struct{}{}:
	default: // already awake
	}
}

func (f *fleet) records() []PodRecord {
	f.mu.Lock()
	defer f.mu.Unlock()
	records := make([]PodRecord, len(f.seen))
	for i, p := range f.seen {
		records[i] = p.record
	}
	return records
}
