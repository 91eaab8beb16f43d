package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// auditPolicy drops the control plane's own noise and keeps every other request:
// its metadata, and the body where a grace period or a precondition stands in it.
// The first rule that matches decides.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: None
  users: [system:apiserver, system:kube-controller-manager, system:kube-scheduler, system:anonymous, ` + nodesUser + `]
- level: Request
  verbs: [create, delete, deletecollection]
  resources:
  - {group: "", resources: [pods, pods/eviction]}
- level: Metadata
`

// Request is one request that the API server has seen.
type Request struct {
	Time        time.Time // when it arrived
	Verb        string    // of Kubernetes: get, list, watch, create, update, patch, delete, deletecollection
	Group       string    // API group of the resource
	Resource    string    // empty for a path that is no resource, such as /readyz
	Subresource string
	Namespace   string
	Name        string
	Path        string // of the URL, without its query
	UserAgent   string
	Code        int // HTTP status; 0 while the request is under way

	// What an eviction or a deletion of a pod asked for.
	GracePeriodSeconds *int64    // nil: the pod's own
	UID                types.UID // the precondition; empty: none
	DryRun             bool      // of any request
}

// inFlight is how long Requests waits for requests that have arrived but not been
// answered. More would not help: what hangs longer hangs on purpose.
const inFlight = 2 * time.Second

// Requests returns what a user ("admin", or see [ServiceAccountUser]) has asked the
// API server for, in order of arrival. It is complete: a request that was answered
// before the call is in it with its code, because the API server writes its audit
// log before it handles a request and again before it is done with it. A request
// still under way two seconds later, and a watch that goes on, are in it as well.
func (l *Lab) Requests(ctx context.Context, user string) ([]Request, error) {
	ctx, cancel := context.WithTimeout(ctx, inFlight)
	defer cancel()
	var requests []Request
	err := poll(ctx, func(context.Context) (bool, error) {
		log, err := os.ReadFile(l.path("audit.log"))
		if err != nil {
			return false, fmt.Errorf("reading audit log: %w", err)
		}
		var open int
		requests, open, err = parseAudit(log, user)
		return open == 0, err
	})
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	return requests, nil
}

// auditEvent is the part of audit.k8s.io/v1 Event that the lab reads.
type auditEvent struct {
	AuditID    types.UID `json:"auditID"`
	Stage      string    `json:"stage"`
	RequestURI string    `json:"requestURI"`
	Verb       string    `json:"verb"`
	User       struct {
		Username string `json:"username"`
	} `json:"user"`
	UserAgent string `json:"userAgent"`
	ObjectRef struct {
		Resource    string `json:"resource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
		APIGroup    string `json:"apiGroup"`
		Subresource string `json:"subresource"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	RequestObject            json.RawMessage  `json:"requestObject"`
	RequestReceivedTimestamp metav1.MicroTime `json:"requestReceivedTimestamp"`
}

// parseAudit returns the requests of a user and how many of them are open: received
// and neither answered nor, for a watch, begun to be answered.
func parseAudit(log []byte, user string) (requests []Request, open int, err error) {
	index := map[types.UID]int{} // into requests
	answered := map[types.UID]bool{}
	mark := fmt.Appendf(nil, `"username":%q`, user)
	for line := range bytes.Lines(log) {
		if !bytes.HasSuffix(line, []byte("\n")) || !bytes.Contains(line, mark) {
			continue // still being written, or cheaply seen to be another user's
		}
		var event auditEvent
		if err := json.Unmarshal(line, &event); err != nil {
			return nil, 0, fmt.Errorf("decoding audit log: %w", err)
		}
		if event.User.Username != user {
			continue
		}
		request, err := event.request()
		if err != nil {
			return nil, 0, err
		}
		at, known := index[event.AuditID]
		if !known {
			at = len(requests)
			index[event.AuditID] = at
			requests = append(requests, request)
		}
		if event.Stage != "RequestReceived" { // ResponseStarted, ResponseComplete or Panic
			answered[event.AuditID] = true
			requests[at] = request
		}
	}
	return requests, len(requests) - len(answered), nil
}

func (e auditEvent) request() (Request, error) {
	at, err := url.Parse(e.RequestURI)
	if err != nil {
		return Request{}, fmt.Errorf("decoding audit log: %w", err)
	}
	r := Request{
		Time: e.RequestReceivedTimestamp.Time, Verb: e.Verb,
		Group: e.ObjectRef.APIGroup, Resource: e.ObjectRef.Resource, Subresource: e.ObjectRef.Subresource,
		Namespace: e.ObjectRef.Namespace, Name: e.ObjectRef.Name,
		Path: at.Path, UserAgent: e.UserAgent, Code: e.ResponseStatus.Code,
		DryRun: at.Query().Has("dryRun"),
	}
	if r.Resource != "pods" || (r.Verb != "delete" && r.Verb != "deletecollection" && r.Subresource != "eviction") {
		return r, nil
	}
	options, err := deleteOptions(e.RequestObject, at.Query())
	if err != nil {
		return Request{}, err
	}
	r.GracePeriodSeconds = options.GracePeriodSeconds
	r.DryRun = r.DryRun || len(options.DryRun) > 0
	if options.Preconditions != nil && options.Preconditions.UID != nil {
		r.UID = *options.Preconditions.UID
	}
	return r, nil
}

// deleteOptions come in the body (an Eviction wraps them), or in the URL of a
// DELETE without a body.
func deleteOptions(body json.RawMessage, query url.Values) (metav1.DeleteOptions, error) {
	var sent struct {
		metav1.DeleteOptions
		Eviction *metav1.DeleteOptions `json:"deleteOptions"`
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &sent); err != nil {
			return sent.DeleteOptions, fmt.Errorf("decoding %s body in audit log: %w", http.MethodDelete, err)
		}
	}
	if sent.Eviction != nil {
		return *sent.Eviction, nil
	}
	if asked := query.Get("gracePeriodSeconds"); asked != "" && sent.GracePeriodSeconds == nil {
		seconds, err := strconv.ParseInt(asked, 10, 64)
		if err != nil {
			return sent.DeleteOptions, fmt.Errorf("decoding grace period in audit log: %w", err)
		}
		sent.GracePeriodSeconds = &seconds
	}
	return sent.DeleteOptions, nil
}
