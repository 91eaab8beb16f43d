package aws

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The SDK would fetch a token by itself, holding a lock, and where IMDSv1 is allowed go on
// without one when it may not.
func TestATokenWhoseTimeIsOverWaitsForRoom(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{"with tokens": {}, "with IMDSv1 allowed": {AllowIMDSv1: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := newDirect(t)
			synctest.Test(t, func(t *testing.T) {
				c, err := newClient(o.withDefaults())
				if err != nil {
					t.Fatal(err)
				}
				c.service = fake
				get := func(patience time.Duration) error {
					ctx, stop := context.WithTimeout(t.Context(), patience)
					defer stop()
					_, err := c.get(ctx, 0, itemInstance)
					return err
				}
				if err := get(time.Second); err != nil {
					t.Fatal(err)
				}
				pass(6*time.Hour + time.Second)
				taken := 0
				for c.budget.try(0) == 0 { // until there is no room
					taken++
				}
				if taken != burst {
					t.Errorf("there was room for %d requests, want %d", taken, burst)
				}
				begun := len(fake.log())
				for range 2 {
					if err := get(100 * time.Millisecond); !errors.Is(err, errHeldBack) {
						t.Errorf("error is %v, want %v", err, errHeldBack)
					}
				}
				if early := fake.log()[begun:]; len(early) > 0 {
					t.Errorf("without room, these were sent: %v", early)
				}
				if err := get(10 * time.Second); err != nil {
					t.Error(err)
				}
				var got []string
				for _, s := range fake.log()[begun:] {
					got = append(got, s.method+" "+s.path)
				}
				want := []string{http.MethodPut + " " + tokenPath, http.MethodGet + " " + itemsPath + itemInstance}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("requests (-want +got):\n%s", diff)
				}
			})
		})
	}
}
