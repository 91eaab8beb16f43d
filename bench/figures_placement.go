package main

import (
	"math"
	"slices"
)

// The names of the figures of admission and rotation.
const (
	figureLasted        = "lasted_s"
	figureCreates       = "creates"
	figureFailedCreates = "failed_creates"
	figureMisplaced     = "misplaced"
	figureCreateP50     = "create_p50_ms"
	figureCreateP99     = "create_p99_ms"
	figureAddedP50      = "added_p50_ms"
	figureAddedP99      = "added_p99_ms"

	figureCalls                 = "webhook_calls"
	figureCallsPerCreate        = "webhook_calls_per_create"
	figureFailedCalls           = "webhook_calls_failed"
	figureCertificates          = "certificates"
	figureAuthorities           = "authorities"
	figureSecondsPerCertificate = "s_per_certificate"
	figureDistrusted            = "handshakes_failed"
	figureConnections           = "api_server_connections"
	figureSecondsPerConnection  = "s_per_connection"
)

// placementMeanings are the figures of admission and rotation, as meanings are.
var placementMeanings = []meaning{
	{figureLasted, "how long certificates were looked at"},
	{figureCreates, "pods that were to be created"},
	{figureFailedCreates, "of them: those that were not"},
	{figureMisplaced, "created pods that are not what they should be: placed by the policy, with neither as they were written"},
	{figureCreateP50, "time of half of the creations, of each block, and of the blocks the median"},
	{figureCreateP99, "time of all but a hundredth of them, likewise"},
	{figureAddedP50, "create_p50_ms less that of neither, of blocks of one run, and of the runs the median"},
	{figureAddedP99, "create_p99_ms less that of neither, likewise"},
	{figureCalls, "calls of the webhook, by the API server's count"},
	{figureCallsPerCreate, "webhook_calls / creates"},
	{figureFailedCalls, "calls that failed, or after which a pod was let through or refused unasked, by the API server's count"},
	{figureCertificates, "distinct serving certificates that were seen"},
	{figureAuthorities, "distinct CAs that had signed these"},
	{figureSecondsPerCertificate, "lasted_s / certificates"},
	{figureDistrusted, "handshakes with a replica that failed by the trust of the live webhook configuration"},
	{figureConnections, "connections that the API server made to the replicas, each with a handshake"},
	{figureSecondsPerConnection, "lasted_s / api_server_connections"},
}

// putMedian takes down the middle one of several values, or the lower of two middle
// ones. Those that could not be measured do not count; if none could, nor can this.
func (f Figures) putMedian(name string, values []float64) {
	values = slices.DeleteFunc(values, math.IsNaN)
	if len(values) == 0 {
		return
	}
	slices.Sort(values)
	f[name] = round(quantile(values, 0.5))
}

// putRatio takes down a ratio, unless there is nothing to divide by.
func (f Figures) putRatio(name string, value float64, by int) {
	if by > 0 {
		f[name] = round(value / float64(by))
	}
}
