package drain

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
)

// heard returns what feed has to tell now: "uid", "uid gone" for each change.
func heard(feed *Feed) []string {
	var changes []string
	for {
		select {
		case change := <-feed.Changes():
			text := string(change.Pod.UID)
			if change.Gone {
				text += " gone"
			}
			changes = append(changes, text)
		default:
			return changes
		}
	}
}

func replace(t *testing.T, feed *Feed, pods ...*corev1.Pod) {
	t.Helper()
	objs := make([]any, 0, len(pods))
	for _, pod := range pods {
		objs = append(objs, pod)
	}
	if err := feed.Replace(objs, "7"); err != nil {
		t.Fatal(err)
	}
}

func TestTheFirstListIsTheSnapshotAndNoChange(t *testing.T) {
	t.Parallel()
	feed := newFeed(t.Context())
	replace(t, feed, newPod("a"), newPod("b"))
	pods, err := feed.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(podList(newPod("a"), newPod("b")), pods); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
	if changes := heard(feed); changes != nil {
		t.Errorf("told %q besides", changes)
	}
}

func TestANodeWithoutPodsHasASnapshot(t *testing.T) {
	t.Parallel()
	feed := newFeed(t.Context())
	replace(t, feed)
	if pods, err := feed.Snapshot(t.Context()); err != nil || len(pods) != 0 {
		t.Errorf("snapshot is %v, %v", pods, err)
	}
}

func TestALaterListIsToldAsWhatHappenedInBetween(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		later []*corev1.Pod
		want  []string
	}{
		"nothing happened":          {[]*corev1.Pod{newPod("a"), newPod("b")}, []string{"uid-a", "uid-b"}},
		"a pod left":                {[]*corev1.Pod{newPod("b")}, []string{"uid-a gone", "uid-b"}},
		"a pod came":                {[]*corev1.Pod{newPod("a"), newPod("b"), newPod("c")}, []string{"uid-a", "uid-b", "uid-c"}},
		"a namesake took its place": {[]*corev1.Pod{newPod("a", uid("uid-z")), newPod("b")}, []string{"uid-a gone", "uid-b", "uid-z"}},
		"all left":                  {nil, []string{"uid-a gone", "uid-b gone"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			feed := newFeed(t.Context())
			replace(t, feed, newPod("a"), newPod("b"))
			replace(t, feed, c.later...)
			changes := heard(feed)
			slices.Sort(changes)
			if diff := cmp.Diff(c.want, changes); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheWatchIsToldInOrder(t *testing.T) {
	t.Parallel()
	feed := newFeed(t.Context())
	replace(t, feed, newPod("a"), newPod("b"))
	for _, err := range []error{
		feed.Add(newPod("c")),
		feed.Update(newPod("a", terminating)),
		feed.Delete(newPod("a")),
		feed.Delete(cache.DeletedFinalStateUnknown{Key: "default/b", Obj: newPod("b")}),
		feed.Resync(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"uid-c", "uid-a", "uid-a gone", "uid-b gone"}
	if diff := cmp.Diff(want, heard(feed)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	replace(t, feed, newPod("c"))
	if diff := cmp.Diff([]string{"uid-c"}, heard(feed)); diff != "" {
		t.Errorf("pods that were told as gone are told again (-want +got):\n%s", diff)
	}
}

func TestAnythingButAPodIsAnError(t *testing.T) {
	t.Parallel()
	feed := newFeed(t.Context())
	for name, err := range map[string]error{
		"added":    feed.Add(&corev1.Node{}),
		"updated":  feed.Update(nil),
		"deleted":  feed.Delete("default/a"),
		"unknown":  feed.Delete(cache.DeletedFinalStateUnknown{Key: "default/a"}),
		"replaced": feed.Replace([]any{&corev1.Pod{}, &corev1.Node{}}, "7"),
	} {
		if err == nil || !strings.Contains(err.Error(), "reading a watch") {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	if changes := heard(feed); changes != nil {
		t.Errorf("told %q", changes)
	}
}

func TestARehearsedEvictionIsToldAsThePodsEnd(t *testing.T) {
	t.Parallel()
	feed := newFeed(t.Context())
	replace(t, feed, newPod("a"))
	feed.pretend(PodRef{"default", "a", "uid-a"})
	feed.pretend(PodRef{"default", "b", "uid-b"})
	if diff := cmp.Diff([]string{"uid-a gone"}, heard(feed)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func TestASnapshotIsWaitedForNoLongerThanAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		feed := newFeed(t.Context())
		bored := errors.New("bored")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(bored)
		if _, err := feed.Snapshot(ctx); !errors.Is(err, bored) {
			t.Errorf("error is %v, want the reason that the wait ended", err)
		}
	})
}

func TestAFeedThatNobodyReadsHoldsNothingUpAfterItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		feed := newFeed(ctx)
		replace(t, feed)
		ended := false
		go func() {
			for range changesBuffered + 1 {
				_ = feed.Add(newPod("a"))
			}
			ended = true
		}()
		synctest.Wait()
		if ended {
			t.Error("a change was dropped while the feed lived")
		}
		cancel()
		synctest.Wait()
		if !ended {
			t.Error("the watch hangs in a feed that has ended")
		}
	})
}
