package aws

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/aws/awstest"
)

// within is the largest number of requests within any window of that length.
func within(all []sent, window time.Duration) int {
	most, first := 0, 0
	for last := range all {
		for all[last].at.Sub(all[first].at) >= window {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

// watch asks a source as the agent does, and says when each poll that succeeded was.
func watch(ctx context.Context, s agent.Source, seen func(string, time.Time)) {
	pace := s.Pace()
	for ctx.Err() == nil {
		began, pause := time.Now(), pace.Every
		poll, stop := context.WithTimeout(ctx, pace.Timeout)
		_, err := s.Poll(poll)
		stop()
		if err == nil {
			seen(s.Name(), time.Now())
		} else {
			pause = min(pause, time.Second)
		}
		select {
		case <-time.After(time.Until(began.Add(pause))):
		case <-ctx.Done():
		}
	}
}

// play runs the sources in virtual time in front of fake, all from the start, for as long
// as act takes. It returns when the polls were that saw something, by source.
func play(t *testing.T, fake *direct, o Options, act func(*testing.T)) map[string][]time.Time {
	t.Helper()
	var mu sync.Mutex
	successes := map[string][]time.Time{}
	synctest.Test(t, func(t *testing.T) {
		sources, err := NewSources(o)
		if err != nil {
			t.Fatal(err)
		}
		seen := func(name string, at time.Time) {
			mu.Lock()
			defer mu.Unlock()
			successes[name] = append(successes[name], at)
		}
		ctx, stop := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		sources[0].(*source).client.service = fake //nolint:forcetypeassert,errcheck // it is made here
		for _, each := range sources {
			watching.Go(func() { watch(ctx, each, seen) })
		}
		act(t)
		stop()
		watching.Wait()
	})
	return successes
}

// pass lets virtual time pass.
func pass(d time.Duration) { <-time.After(d) }

// What is never to be exceeded, by the issue and by the doc comment of NewSources.
const (
	mostPerMinute = 90
	mostPerSecond = 7
)

func checkTraffic(t *testing.T, sent []sent) {
	t.Helper()
	minute, second := within(sent, time.Minute), within(sent, time.Second)
	lasted := sent[len(sent)-1].at.Sub(sent[0].at)
	t.Logf("%.2f requests a second on average, %d in a minute, %d in a second", float64(len(sent))/lasted.Seconds(), minute, second)
	if minute > mostPerMinute {
		t.Errorf("%d requests within a minute, want at most %d", minute, mostPerMinute)
	}
	if second > mostPerSecond {
		t.Errorf("%d requests within a second, want at most %d", second, mostPerSecond)
	}
}

// mostApart is the longest time between two readings of an item. Room is kept for the
// interruption; the others may wait for it.
var mostApart = map[string]time.Duration{
	"spot": time.Second, "lifecycle": 10*time.Second + patience, "rebalance": 10*time.Second + patience,
	"maintenance": time.Minute + patience,
}

// checkReadInTime wants that an item was read at least as often as that.
func checkReadInTime(t *testing.T, name string, times []time.Time, most time.Duration) {
	t.Helper()
	if len(times) < 50 {
		t.Fatalf("%s was read %d times", name, len(times))
	}
	for i := 1; i < len(times); i++ {
		if gap := times[i].Sub(times[i-1]); gap > most {
			t.Errorf("%s was not read for %s, want at most %s", name, gap, most)
		}
	}
}

func TestWhileNothingFailsEachItemIsReadInTime(t *testing.T) {
	t.Parallel()
	fake := newDirect(t)
	var began time.Time
	successes := play(t, fake, Options{}, func(*testing.T) { began = time.Now(); pass(time.Hour) })
	checkTraffic(t, fake.sent)
	for name, most := range mostApart {
		checkReadInTime(t, name, successes[name], most)
		if took := successes[name][0].Sub(began); took > 3*time.Second {
			t.Errorf("%s was first read after %s: an agent is not ready before that", name, took)
		}
	}
	if tokens := count(fake.sent, tokenPath); tokens != 1 {
		t.Errorf("%d tokens were fetched, want 1", tokens)
	}
}

func TestOneTokenFollowsAnotherWhoseTimeIsOver(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{"with tokens": {}, "with IMDSv1 allowed": {AllowIMDSv1: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := newDirect(t)
			successes := play(t, fake, o, func(*testing.T) { pass(6*time.Hour + 10*time.Minute) })
			checkTraffic(t, fake.sent)
			for name, most := range mostApart {
				checkReadInTime(t, name, successes[name], most)
			}
			if tokens := count(fake.sent, tokenPath); tokens != 2 {
				t.Errorf("%d tokens were fetched, want 2", tokens)
			}
		})
	}
}

// count is how many requests were for that path.
func count(sent []sent, path string) int {
	n := 0
	for _, s := range sent {
		if s.path == path {
			n++
		}
	}
	return n
}

func TestAnItemThatFailsMakesNoOtherLate(t *testing.T) {
	t.Parallel()
	for _, broken := range items(Options{}.withDefaults())[1:] {
		t.Run(broken.name, func(t *testing.T) {
			t.Parallel()
			fake := newDirect(t)
			var mended time.Time
			successes := play(t, fake, Options{}, func(*testing.T) {
				fake.breakDown(broken.path)
				pass(time.Hour)
				mended = time.Now()
				fake.breakDown("")
				pass(2 * time.Minute)
			})
			checkTraffic(t, fake.sent)
			for name, most := range mostApart {
				if name != broken.name {
					// After a fault of any item the service has to prove itself anew.
					checkReadInTime(t, name, successes[name], most+time.Second)
				}
			}
			seen := successes[broken.name]
			if len(seen) == 0 || seen[0].Before(mended) || seen[0].Sub(mended) > time.Minute {
				t.Errorf("it was mended at %v, and read at %v", mended, seen)
			}
		})
	}
}

// soon is how long after the end of a fault a source has to see at the latest.
var soon = map[string]time.Duration{
	"spot": 5 * time.Second, "rebalance": mostQuiet + patience, "maintenance": mostQuiet + patience, "lifecycle": mostQuiet + patience,
}

func TestTheBudgetHoldsWhateverFails(t *testing.T) {
	t.Parallel()
	for _, fault := range awstest.Faults() {
		for name, o := range map[string]Options{"with tokens": {}, "with IMDSv1 allowed": {AllowIMDSv1: true}} {
			t.Run(string(fault)+" "+name, func(t *testing.T) {
				t.Parallel()
				fake := newDirect(t)
				var ends []time.Time
				successes := play(t, fake, o, func(t *testing.T) {
					t.Helper()
					for range 2 {
						fake.set(t, fault)
						pass(3 * time.Minute)
						fake.set(t, "")
						ends = append(ends, time.Now())
						pass(2 * time.Minute)
					}
				})
				checkTraffic(t, fake.sent)
				for name, within := range soon {
					for _, end := range ends {
						late := func(at time.Time) bool { return at.After(end) && !at.After(end.Add(within)) }
						if !slices.ContainsFunc(successes[name], late) {
							t.Errorf("%s saw nothing within %s after the fault", name, within)
						}
					}
				}
			})
		}
	}
}

func TestAServiceThatThrottlesIsAskedForLittleButTheInterruption(t *testing.T) {
	t.Parallel()
	for _, fault := range []awstest.Fault{awstest.TooManyRequests, awstest.Unavailable} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			fake := newDirect(t)
			begun := 0
			play(t, fake, Options{}, func(t *testing.T) {
				t.Helper()
				pass(time.Minute)
				fake.set(t, fault)
				pass(5 * time.Minute) // until it is asked as seldom as ever
				begun = len(fake.log())
				pass(10 * time.Minute)
			})
			throttled := fake.sent[begun:]
			spot := count(throttled, itemsPath+"spot/instance-action")
			if others := len(throttled) - spot; spot < 598 || others > 40 {
				t.Errorf("in ten minutes %d requests were for the interruption and %d for others", spot, others)
			}
		})
	}
}

func TestAFailureStaysTheSameWhileASourceIsHeldBack(t *testing.T) {
	t.Parallel()
	fake := newDirect(t)
	synctest.Test(t, func(t *testing.T) {
		sources, err := NewSources(Options{})
		if err != nil {
			t.Fatal(err)
		}
		rebalance := sources[1].(*source) //nolint:forcetypeassert,errcheck // it is made here
		rebalance.client.service = fake
		fake.set(t, awstest.TooManyRequests)
		var said []string
		for range 20 {
			// As the agent asks: its patience ends together with the source's own.
			ctx, stop := context.WithTimeout(t.Context(), rebalance.Pace().Timeout)
			_, err := rebalance.Poll(ctx)
			stop()
			said = append(said, err.Error())
		}
		if said = slices.Compact(said); len(said) != 1 {
			t.Errorf("it says %q", said)
		}
		// A caller that has had enough is told so.
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if _, err := rebalance.Poll(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v, want one that wraps context.Canceled", err)
		}
	})
}
