package drain

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A Deployment of which one pod at a time may be handed over refuses all its others, every
// two seconds.
func TestAHandOverThatIsRefusedForNowIsLoggedWhenTheReasonChanges(t *testing.T) {
	t.Parallel()
	unreachable := errors.New("unreachable")
	tests := map[string]struct {
		results []handedOver
		want    int
	}{
		"refused for the same reason again and again": {[]handedOver{{refusal: SurgeInUse}, {refusal: SurgeInUse}, {refusal: SurgeInUse}}, 1},
		"refused for another reason":                  {[]handedOver{{refusal: SurgeInUse}, {refusal: RollingOut}, {refusal: RollingOut}}, 2},
		"begun in the end":                            {[]handedOver{{refusal: SurgeInUse}, {refusal: SurgeInUse}, {end: Ready}}, 2},
		"refused for good after that":                 {[]handedOver{{refusal: SurgeInUse}, {refusal: NoSurge}}, 2},
		"failed":                                      {[]handedOver{{end: Failed}}, 1},
		"not answered, each time":                     {[]handedOver{{err: unreachable}, {err: unreachable}}, 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			r := &run{Mover: &Mover{Log: slog.New(slog.NewTextHandler(&log, nil))}}
			p := newProgress(Move{PodRef: PodRef{Namespace: "default", Name: "web"}})
			for _, result := range test.results {
				result.of = p
				r.hearHandOver(result, time.Now())
			}
			if got := strings.Count(log.String(), "Hand-over ended"); got != test.want {
				t.Errorf("%d lines, want %d:\n%s", got, test.want, &log)
			}
		})
	}
}
