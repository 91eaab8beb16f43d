package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// callsPage is what an API server says, cut to what matters.
const callsPage = `# HELP apiserver_admission_webhook_request_total [ALPHA] Admission webhook request total.
# TYPE apiserver_admission_webhook_request_total counter
apiserver_admission_webhook_request_total{code="200",name="pods.placement.ebbtide.dev",operation="CREATE",rejected="false",type="admit"} 95
apiserver_admission_webhook_request_total{code="503",name="pods.placement.ebbtide.dev",operation="CREATE",rejected="false",type="admit"} 2
apiserver_admission_webhook_request_total{code="200",name="kube-system.placement.ebbtide.dev",operation="CREATE",rejected="false",type="admit"} 3
apiserver_admission_webhook_request_total{code="503",name="pods.example.com",operation="CREATE",rejected="true",type="admit"} 40
# TYPE apiserver_admission_webhook_fail_open_count counter
apiserver_admission_webhook_fail_open_count{name="pods.placement.ebbtide.dev",type="admit"} 2
apiserver_admission_webhook_fail_open_count{name="pods.example.com",type="admit"} 50
# TYPE apiserver_admission_webhook_rejection_count counter
apiserver_admission_webhook_rejection_count{error_type="apiserver_internal_error",name="kube-system.placement.ebbtide.dev",operation="CREATE",rejection_code="0",type="admit"} 1
# TYPE apiserver_admission_webhook_admission_duration_seconds histogram
apiserver_admission_webhook_admission_duration_seconds_bucket{name="pods.placement.ebbtide.dev",operation="CREATE",rejected="false",type="admit",le="0.005"} 90
apiserver_admission_webhook_admission_duration_seconds_sum{name="pods.placement.ebbtide.dev",operation="CREATE",rejected="false",type="admit"} 0.2
apiserver_admission_webhook_admission_duration_seconds_count{name="pods.placement.ebbtide.dev",operation="CREATE",rejected="false",type="admit"} 97
`

func TestCallsAreThoseOfBothOurEntriesAndOfNoOtherWebhook(t *testing.T) {
	t.Parallel()
	got, err := parseCalls([]byte(callsPage))
	if err != nil {
		t.Fatal(err)
	}
	want := calls{all: 100, failed: 2, ignored: 2, refused: 1}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(calls{})); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if since := got.since(calls{all: 90, failed: 2, ignored: 1}); since != (calls{all: 10, ignored: 1, refused: 1}) {
		t.Errorf("since an earlier count there were %+v", since)
	}
}

func TestAnAPIServerThatNeverCalledSaysNothing(t *testing.T) {
	t.Parallel()
	if got, err := parseCalls([]byte("# TYPE up gauge\nup 1\n")); err != nil || got != (calls{}) {
		t.Errorf("calls %+v, %v", got, err)
	}
}

func TestCallsThatCannotBeReadAreAnError(t *testing.T) {
	t.Parallel()
	if got, err := parseCalls([]byte("apiserver_admission_webhook_request_total{name=\n")); err == nil {
		t.Errorf("calls %+v", got)
	}
}

func TestACallIsWrongByWhicheverCountSaysSo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		calls calls
		want  int
	}{
		"none failed":               {calls{all: 9}, 0},
		"let through":               {calls{all: 9, failed: 2, ignored: 2}, 2},
		"only the status tells":     {calls{all: 9, failed: 2}, 2},
		"the status does not tell":  {calls{all: 9, ignored: 3}, 3},
		"a pod was refused instead": {calls{all: 9, refused: 1}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := c.calls.wrong(); got != c.want {
				t.Errorf("%d are wrong, want %d", got, c.want)
			}
		})
	}
}
