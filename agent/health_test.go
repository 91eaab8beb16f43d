package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newHealth() (*Health, *logbook) {
	book := &logbook{}
	return &Health{Log: slog.New(slog.NewJSONHandler(book, nil))}, book
}

// setting is one result of a check, and whether the check fails then.
type setting struct {
	after time.Duration
	err   error
	fails bool
}

func TestACheckFailsAsItWasTold(t *testing.T) {
	t.Parallel()
	const tenth = 100 * time.Millisecond
	cases := map[string]struct {
		within   time.Duration
		settings []setting
	}{
		"at once when it tolerates nothing": {0, []setting{{0, nil, false}, {1, errBroken, true}, {2, nil, false}}},
		"not at a failure within its time":  {blindAfter, []setting{{0, nil, false}, {blindAfter, errBroken, false}}},
		"at a failure after its time":       {blindAfter, []setting{{0, nil, false}, {blindAfter + tenth, errBroken, true}}},
		"from its last success on": {blindAfter, []setting{
			{0, nil, false},
			{9 * time.Second, errBroken, false},
			{10 * time.Second, nil, false},
			{20 * time.Second, errBroken, false},
			{20*time.Second + tenth, errBroken, true},
		}},
		"before its first success, whatever it tolerates": {blindAfter, []setting{{0, errBroken, true}, {1, nil, false}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			health, _ := newHealth()
			health.Expect("it", c.within)
			for _, s := range c.settings {
				now := noon.Add(s.after)
				health.Set("it", s.err, now)
				if failing := health.Failing(now)["it"]; (failing != nil) != s.fails {
					t.Errorf("after %v and %v it says %v, want failing %v", s.after, s.err, failing, s.fails)
				}
			}
		})
	}
}

func TestAnExpectedCheckFailsUntilItHasPassed(t *testing.T) {
	t.Parallel()
	health, book := newHealth()
	health.Expect("it", 0)
	health.Expect("source", blindAfter)
	for _, check := range []string{"it", "source"} {
		if err := health.Failing(noon)[check]; !errors.Is(err, errPending) {
			t.Errorf("%s says %v, want that it is pending", check, err)
		}
		health.Set(check, nil, noon)
		if err := health.Failing(noon)[check]; err != nil {
			t.Errorf("%s says %v after it passed", check, err)
		}
	}
	if diff := cmp.Diff([]string{"passed it", "passed source"}, book.checks()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestACheckThatNobodySetsAnyMoreFailsAfterItsTime(t *testing.T) {
	t.Parallel()
	health, _ := newHealth()
	health.Expect("source", blindAfter)
	health.Set("source", nil, noon)
	if err := health.Failing(noon.Add(blindAfter))["source"]; err != nil {
		t.Errorf("it says %v within its time", err)
	}
	err := health.Failing(noon.Add(blindAfter + time.Second))["source"]
	if err == nil || err.Error() != "silent since 2026-03-01T12:00:00Z" {
		t.Errorf("it says %v after its time", err)
	}
}

func TestTheLogTellsTransitionsAndNothingElse(t *testing.T) {
	t.Parallel()
	health, book := newHealth()
	health.Expect("source", blindAfter)
	now := noon
	set := func(times int, err error) {
		for range times {
			now = now.Add(time.Second)
			health.Set("source", err, now)
		}
	}
	set(100, nil)
	set(9, errBroken) // a stumble
	set(100, nil)
	set(100, errBroken)
	set(100, errors.New("403 Forbidden"))
	set(100, nil)
	for range 100 { // it flaps without being blind
		set(1, nil)
		set(1, errBroken)
	}
	want := []string{
		"passed source", "failed source: connection refused", "failed source: 403 Forbidden", "passed source",
	}
	if diff := cmp.Diff(want, book.checks()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestTheDescriptionListsEveryCheckInOrder(t *testing.T) {
	t.Parallel()
	health, _ := newHealth()
	for _, name := range []string{"permissions", "node", "source/test-spot", "cordon"} {
		health.Expect(name, 0)
	}
	health.Set("permissions", nil, noon)
	health.Set("cordon", nil, noon)
	health.Set("node", fmt.Errorf("reading node %q: %w", "node-1", errBroken), noon)
	const want = `[+] cordon: ok
[+] permissions: ok
[-] node: reading node "node-1": connection refused
[-] source/test-spot: not checked yet
`
	if diff := cmp.Diff(want, health.Describe(noon)); diff != "" {
		t.Errorf("description (-want +got):\n%s", diff)
	}
}

func TestALoopBeatsForAMinuteAfterEachTurn(t *testing.T) {
	t.Parallel()
	health, _ := newHealth()
	if !health.Beats(noon) {
		t.Error("it does not beat before its first turn")
	}
	health.Beat(noon)
	if !health.Beats(noon.Add(59 * time.Second)) {
		t.Error("it does not beat within a minute of its turn")
	}
	if health.Beats(noon.Add(time.Minute)) {
		t.Error("it beats after a minute without a turn")
	}
}

func TestAnAgentThatHasNotBegunIsNotReady(t *testing.T) {
	t.Parallel()
	health, _ := newHealth()
	if failing := health.Failing(time.Now()); len(failing) != 1 {
		t.Errorf("without any check %v fails, want that there is none yet", failing)
	}
}
