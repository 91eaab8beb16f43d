package drain

import (
	"sync"
	"testing"
	"time"
)

func TestACountdownTellsWhenItIsTightenedAndOnlyThen(t *testing.T) {
	t.Parallel()
	countdown := NewCountdown(NewBudget(noon.Add(time.Minute), noon))
	_, tightened := countdown.Budget()

	if countdown.Tighten(noon.Add(2*time.Minute), noon) {
		t.Error("a later deadline is said to have changed something")
	}
	select {
	case <-tightened:
		t.Error("a later deadline was told as a tighter one")
	default:
	}

	if !countdown.Tighten(noon.Add(30*time.Second), noon) {
		t.Error("an earlier deadline is said to have changed nothing")
	}
	select {
	case <-tightened:
	default:
		t.Error("an earlier deadline was not told")
	}
	budget, again := countdown.Budget()
	if want := NewBudget(noon.Add(30*time.Second), noon); budget != want {
		t.Errorf("counts down %+v, want %+v", budget, want)
	}
	select {
	case <-again:
		t.Error("one tightening was told twice")
	default:
	}
}

func TestTheEarliestOfManyNoticesWins(t *testing.T) {
	t.Parallel()
	countdown := NewCountdown(NewBudget(noon.Add(time.Hour), noon))
	var notices sync.WaitGroup
	for seconds := range 50 {
		notices.Go(func() { countdown.Tighten(noon.Add(time.Duration(seconds+10)*time.Second), noon) })
	}
	notices.Wait()
	if budget, _ := countdown.Budget(); !budget.Deadline.Equal(noon.Add(10 * time.Second)) {
		t.Errorf("counts down to %v, want the earliest of all notices", budget.Deadline)
	}
}
