package webhook

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"

	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/placement"
)

// A pod that is deleted because it waited must not be let in again by a memory that
// nothing has woken since: in a quiet cluster no node changes.
func TestAMemoryThatIsRefreshedAsksAgainWhoWaitedInVain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory := NewMemory(placement.Rules{}, slog.New(slog.DiscardHandler))
		asked := 0
		memory.LatelyPending = func() []types.UID { asked++; return nil }
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- memory.Run(ctx) }()
		synctest.Wait()
		if asked != 1 {
			t.Errorf("asked %d times at the start, want once", asked)
		}
		memory.Refresh()
		synctest.Wait()
		if asked != 2 {
			t.Errorf("asked %d times after a refresh, want once more", asked)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
