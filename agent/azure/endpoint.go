package azure

import (
	"net/http"

	"github.com/ebbtide/ebbtide/agent/metadata"
)

// DefaultEndpoint is where every Azure machine finds its metadata service, by
// the page "Azure Instance Metadata Service".
const DefaultEndpoint = "http://169.254.169.254"

// CheckEndpoint says what is wrong with an endpoint, nil if nothing is: see
// [metadata.CheckEndpoint].
func CheckEndpoint(endpoint string) error {
	return metadata.CheckEndpoint(endpoint, DefaultEndpoint)
}

// The questions. Each names the version of the interface that it expects, the
// oldest that has all that is read here.
const (
	pathEvents  = "/metadata/scheduledevents"
	queryEvents = "api-version=2020-07-01"
	pathName    = "/metadata/instance/compute/name"
	queryName   = "api-version=2021-02-01&format=text"
)

// meant is sent with each question. It shows that the sender means to ask this
// service, since a careless proxy would not add it.
var meant = http.Header{"Metadata": {"true"}}

// hints are the causes that users meet most often, by the service's own pages.
var hints = []metadata.Hint{
	{
		Method: http.MethodPost, Statuses: []int{http.StatusBadRequest},
		Text: "the event is not on the service's list, or can no longer be started early",
	},
	{
		Statuses: []int{http.StatusBadRequest},
		Text:     "the metadata service takes no question that passed a proxy: is one in the way?",
	},
	{
		Statuses: []int{http.StatusForbidden},
		Text:     "the metadata service is closed to this machine or to this pod, or a proxy is in the way",
	},
	{
		Statuses: []int{http.StatusNotFound},
		Text:     "what answers is not Azure's metadata service, or hides items from pods",
	},
	{
		Statuses: []int{http.StatusGone},
		Text:     "the metadata service is being updated, which takes up to 70 seconds",
	},
	{
		Statuses: []int{http.StatusInternalServerError},
		Text:     "the metadata service has a fault of its own, which should pass",
	},
	{
		Fault: metadata.Unanswered,
		Text:  "it answers on the first address of the first network interface alone: use hostNetwork",
	},
}
