package lab

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAuditLogIsReadAsFarAsItIsWritten(t *testing.T) {
	t.Parallel()
	const (
		received = `{"auditID":"1","stage":"RequestReceived","requestURI":"/api/v1/nodes?dryRun=All","verb":"list","user":{"username":"agent"}}` + "\n"
		complete = `{"auditID":"1","stage":"ResponseComplete","requestURI":"/api/v1/nodes?dryRun=All","verb":"list","user":{"username":"agent"},"responseStatus":{"code":403}}` + "\n"
		foreign  = `{"auditID":"2","stage":"RequestReceived","requestURI":"/readyz","verb":"get","user":{"username":"other"}}` + "\n"
		similar  = `{"auditID":"3","stage":"RequestReceived","requestURI":"/readyz","verb":"get","user":{"username":"other","extra":{"as":["\"username\":\"agent\""]}}}` + "\n"
		watching = `{"auditID":"4","stage":"ResponseStarted","requestURI":"/api/v1/pods?watch=true","verb":"watch","user":{"username":"agent"},"responseStatus":{"code":200}}` + "\n"
		deletion = `{"auditID":"5","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/a/pods/b?gracePeriodSeconds=3","verb":"delete","user":{"username":"agent"},"objectRef":{"resource":"pods","namespace":"a","name":"b"},"responseStatus":{"code":200}}` + "\n"
	)
	list := Request{Verb: "list", Path: "/api/v1/nodes", DryRun: true}
	answered, three := list, int64(3)
	answered.Code = 403
	tests := map[string]struct {
		log  string
		want []Request
		open int
	}{
		"An empty log":                           {},
		"A request under way":                    {log: received, want: []Request{list}, open: 1},
		"An answered request counts once":        {log: received + complete, want: []Request{answered}},
		"A line that is still being written":     {log: received + complete[:40], want: []Request{list}, open: 1},
		"Requests of others":                     {log: foreign + similar},
		"A watch that goes on is not waited for": {log: watching, want: []Request{{Verb: "watch", Path: "/api/v1/pods", Code: 200}}},
		"A deletion whose grace is in its address": {log: deletion, want: []Request{{
			Verb: "delete", Resource: "pods", Namespace: "a", Name: "b", Path: "/api/v1/namespaces/a/pods/b", Code: 200, GracePeriodSeconds: &three,
		}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, open, err := parseAudit([]byte(test.log), "agent")
			if err != nil || open != test.open {
				t.Errorf("open = %d, error = %v, want %d", open, err, test.open)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("requests differ (-want +got):\n%s", diff)
			}
		})
	}
	if _, _, err := parseAudit([]byte(`{"user":{"username":"agent"}`+"\n"), "agent"); err == nil {
		t.Error("a line that is no JSON was read without an error")
	}
}
