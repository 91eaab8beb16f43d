package aws

import (
	"net/http"

	"github.com/ebbtide/ebbtide/agent/metadata"
)

// hints are the causes that users meet most often, by the EC2 user guide,
// "Access instance metadata for an EC2 instance", and the reports of those who
// run agents in pods.
var hints = []metadata.Hint{
	{
		Statuses: []int{http.StatusForbidden},
		Text:     "the metadata service is switched off for this instance or for this pod, or a proxy is in the way",
	},
	{
		Method: http.MethodPut, Statuses: []int{http.StatusNotFound, http.StatusMethodNotAllowed},
		Text: "only IMDSv1 is offered here; allow it if that is meant",
	},
	{
		Statuses: []int{http.StatusUnauthorized},
		Text:     "the token was not accepted",
	},
	{
		Statuses: []int{http.StatusNotFound},
		Text:     "what answers is not the EC2 metadata service, or hides items from pods",
	},
	{
		Method: http.MethodPut, Fault: metadata.Unanswered,
		Text: "with a hop limit of 1 the token never reaches a pod: use hostNetwork or a hop limit of 2",
	},
}
