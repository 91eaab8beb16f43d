package gcp

import (
	"net/http"

	"github.com/ebbtide/ebbtide/agent/metadata"
)

// hints are the causes that users meet most often, by Compute Engine's
// documentation, "Troubleshoot the metadata server".
var hints = []metadata.Hint{
	{
		Statuses: []int{http.StatusForbidden},
		Text:     "the metadata server is switched off for this instance, or a proxy that forwards requests is in the way",
	},
	{
		Statuses: []int{http.StatusNotFound},
		Text:     "what answers is not the metadata server of Compute Engine",
	},
}

// hintHidden is for a server that knows the instance and hides its notices.
const hintHidden = "the GKE metadata server hides this key from pods: use hostNetwork"
