package certificate

import (
	"testing"
	"time"
)

var testRules = rules{mode: Own, names: []string{"placement.ebbtide.svc"}, periods: DefaultPeriods()}

// Whatever two replicas do, in whatever order their watches bring them the news, and
// whichever of the caBundles it may have seen an API server goes by.
func TestNoAPIServerEverRefusesAReplicaThatIsReady(t *testing.T) {
	t.Parallel()
	done := map[Change]int{}
	for seed := range uint64(12) {
		w := newWorld(seed, testRules, testRules.periods.Settle-time.Second)
		for turn := range 1000 {
			w.pass()
			w.happen()
			if err := w.refused(); err != nil {
				t.Fatalf("seed %d, turn %d: %v", seed, turn, err)
			}
		}
		w.settle()
		for i, r := range w.replicas {
			if !w.ready(r) {
				t.Errorf("seed %d: replica %d is not ready at the end", seed, i)
			}
		}
		for change, times := range w.done {
			done[change] += times
		}
	}
	t.Logf("steps: %v", done)
	// Or it would have held for nothing.
	for _, change := range Changes() {
		if done[change] < 10 {
			t.Errorf("%s happened %d times only", change, done[change])
		}
	}
}

// The property above is only worth something if it can fail.
func TestAnAPIServerThatLagsLongerThanSettleRefusesSomebody(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		w := newWorld(seed, testRules, 24*time.Hour)
		for range 1500 {
			w.pass()
			w.happen()
			if w.refused() != nil {
				return
			}
		}
	}
	t.Error("nobody was ever refused")
}

// A Secret that is emptied again and again, under replicas that run.
func TestASecretThatIsEmptiedCostsNoCall(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		w := newWorld(seed, testRules, testRules.periods.Settle-time.Second)
		// A CA that no Secret remembers is published for a while only.
		w.late = testRules.periods.Settle
		w.settle()
		for range 5 {
			w.secrets = append(w.secrets, nil)
			for turn := range 100 {
				w.advance(time.Duration(w.random.Int64N(int64(5 * time.Second))))
				w.happen()
				if err := w.refused(); err != nil {
					t.Fatalf("seed %d, turn %d: %v", seed, turn, err)
				}
			}
			w.settle()
		}
	}
}
