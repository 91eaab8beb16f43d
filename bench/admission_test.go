package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// taking is a block of creations that took these times, in milliseconds.
func taking(calls int, took ...float64) block {
	return block{batch: batch{took: took}, calls: calls}
}

func TestWhatIsAddedIsTheMedianOfTheDifferencesOfEachRun(t *testing.T) {
	t.Parallel()
	// The machine became slower from run to run; what is added did not.
	base := []block{taking(0, 1, 2, 3), taking(0, 11, 12, 13), taking(0, 21, 22, 23)}
	mine := []block{taking(3, 2, 3, 7), taking(3, 12, 14, 18), taking(3, 22, 23, 24)}
	want := Figures{
		figureCreates: 9, figureFailedCreates: 0, figureMisplaced: 0, figureCallsPerCreate: 1,
		figureCreateP50: 14, figureCreateP99: 18, figureAddedP50: 1, figureAddedP99: 4,
	}
	if diff := cmp.Diff(want, summarize(mine, base)); diff != "" {
		t.Errorf("figures (-want +got):\n%s", diff)
	}
	want = Figures{
		figureCreates: 9, figureFailedCreates: 0, figureMisplaced: 0, figureCallsPerCreate: 0,
		figureCreateP50: 12, figureCreateP99: 13,
	}
	if diff := cmp.Diff(want, summarize(base, nil)); diff != "" {
		t.Errorf("figures of what the others are compared with (-want +got):\n%s", diff)
	}
}

func TestABlockInWhichNothingWasCreatedHasNoTimes(t *testing.T) {
	t.Parallel()
	none := block{batch: batch{failed: 3}}
	base := []block{taking(0, 1), taking(0, 2)}
	want := Figures{
		figureCreates: 4, figureFailedCreates: 3, figureMisplaced: 0, figureCallsPerCreate: 0.25,
		figureCreateP50: 5, figureCreateP99: 5, figureAddedP50: 3, figureAddedP99: 3,
	}
	if diff := cmp.Diff(want, summarize([]block{none, taking(1, 5)}, base)); diff != "" {
		t.Errorf("figures (-want +got):\n%s", diff)
	}
	want = Figures{figureCreates: 3, figureFailedCreates: 3, figureMisplaced: 0, figureCallsPerCreate: 0}
	if diff := cmp.Diff(want, summarize([]block{none}, base)); diff != "" {
		t.Errorf("figures of nothing (-want +got):\n%s", diff)
	}
}

func TestBatchesAddUp(t *testing.T) {
	t.Parallel()
	var all batch
	all.add(batch{took: []float64{5, 1}, misplaced: 1})
	all.add(batch{took: []float64{3}, failed: 2, failure: errShortStat})
	want := batch{took: []float64{1, 3, 5}, failed: 2, misplaced: 1}
	if diff := cmp.Diff(want.took, all.took); diff != "" {
		t.Errorf("times (-want +got):\n%s", diff)
	}
	if all.failed != want.failed || all.misplaced != want.misplaced || all.failure != errShortStat { //nolint:errorlint // It is kept as it is.
		t.Errorf("%d failed, as in %v, and %d are misplaced", all.failed, all.failure, all.misplaced)
	}
	if got := all.quantile(0.5); got != 3 {
		t.Errorf("half of them took %v, want 3", got)
	}
}
