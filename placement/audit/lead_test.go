package audit

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// lease is what replicas elect a leader by, in memory.
type lease struct {
	mu     sync.Mutex
	record *resourcelock.LeaderElectionRecord
}

// candidate is one replica's hold of a lease.
type candidate struct {
	*lease
	name string
}

var _ resourcelock.Interface = candidate{}

func (c candidate) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.record == nil {
		return nil, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "leases"}, "placement")
	}
	record := *c.record
	raw, err := json.Marshal(record)
	return &record, raw, err
}

func (c candidate) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return c.Update(ctx, record)
}

func (c candidate) Update(_ context.Context, record resourcelock.LeaderElectionRecord) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.record = &record
	return nil
}

func (c candidate) RecordEvent(string) {}
func (c candidate) Identity() string   { return c.name }
func (c candidate) Describe() string   { return "lease" }

// nowhere is a cluster that is not known, so that no audit finds anything.
type nowhere struct{}

func (nowhere) View(context.Context) (View, error) { return View{}, errors.New("nothing is known") }

func elected(l *lease, name string, work map[string]func(context.Context) error) *Runner {
	return &Runner{
		Cluster: nowhere{}, Lock: candidate{l, name}, WhileLeading: work,
		Metrics: NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler),
	}
}

func TestOtherWorkIsDoneByTheLeaderAndByNobodyElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			mu    sync.Mutex
			begun []string
		)
		run := func(ctx context.Context, l *lease, name string) <-chan struct{} {
			ended := make(chan struct{})
			runner := elected(l, name, map[string]func(context.Context) error{"sweep": func(ctx context.Context) error {
				mu.Lock()
				begun = append(begun, name)
				mu.Unlock()
				<-ctx.Done()
				return ctx.Err()
			}})
			go func() {
				defer close(ended)
				if err := runner.Run(ctx); err != nil {
					t.Error(err)
				}
			}()
			return ended
		}
		workers := func() []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(begun)
		}

		l := &lease{}
		first, stopFirst := context.WithCancel(t.Context())
		endedFirst := run(first, l, "a")
		synctest.Wait()
		second, stopSecond := context.WithCancel(t.Context())
		endedSecond := run(second, l, "b")
		waitFor(time.Minute)
		if got := workers(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("it is begun by %q, want a alone", got)
		}
		stopFirst()
		<-endedFirst
		waitFor(time.Minute)
		if got := workers(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("it is begun by %q, want a and then its successor", got)
		}
		stopSecond()
		<-endedSecond
	})
}

// waitFor lets virtual time go by.
func waitFor(duration time.Duration) {
	<-time.After(duration)
	synctest.Wait()
}

func TestWorkThatFailsIsBegunAgainAfterAPauseAndWorkThatIsDoneIsNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var fails, does []time.Duration
		runner := elected(&lease{}, "a", map[string]func(context.Context) error{
			"fails twice": func(ctx context.Context) error {
				if fails = append(fails, time.Since(began)); len(fails) <= 2 {
					return errors.New("the API server is away")
				}
				<-ctx.Done()
				return ctx.Err()
			},
			"is done": func(context.Context) error {
				does = append(does, time.Since(began))
				return nil
			},
		})
		term, end := context.WithTimeout(t.Context(), time.Minute)
		defer end()
		runner.lead(term, nil)
		if want := []time.Duration{0, workPause, 2 * workPause}; !slices.Equal(fails, want) {
			t.Errorf("what fails is begun after %v, want %v", fails, want)
		}
		if want := []time.Duration{0}; !slices.Equal(does, want) {
			t.Errorf("what is done is begun after %v, want %v", does, want)
		}
	})
}

func TestATermEndsWhenItsWorkHas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const lingers, tidiesUp = time.Minute, 3 * time.Second
		began := time.Now()
		runner := elected(&lease{}, "a", map[string]func(context.Context) error{"tidies up": func(ctx context.Context) error {
			<-ctx.Done()
			<-time.After(tidiesUp)
			return errors.New("something is left")
		}})
		ctx, stop := context.WithTimeout(t.Context(), lingers)
		defer stop()
		if err := runner.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != lingers+tidiesUp {
			t.Errorf("it returns after %s, want %s", took, lingers+tidiesUp)
		}
	})
}

func TestALeaderSaysWhenItTriesAgainAndForgetsWhatWentWrongOnceAPodIsMoved(t *testing.T) {
	t.Parallel()
	recorder := events.NewFakeRecorder(1)
	runner := elected(&lease{}, "a", nil)
	runner.Events = recorder
	stranded := Rescue{Pod: running(t, "a", "spot-1"), Policy: "dns"}
	for i, told := range []struct {
		end  Moved
		want string
	}{
		{OnSpotAgain, "tried again in 10m0s"},
		{OnSpotAgain, "tried again in 20m0s"},
		{AlreadyGone, "(AlreadyGone)"},
		{NoReplacement, "tried again in 40m0s"},
		{Evicted, "(Evicted)"},
		{OnSpotAgain, "tried again in 10m0s"},
	} {
		runner.hear(t.Context(), rescued{Rescue: stranded, end: told.end})
		if got := <-recorder.Events; !strings.HasSuffix(got, told.want) {
			t.Errorf("of rescue %d it says %q, want %q", i+1, got, told.want)
		}
	}
}
