package interruptions

// Subject says what a [Fact] is about, and so which metric counts it.
type Subject string

// The subjects. What [Fact.Value] says of each is a closed set.
const (
	// Interruption of a node; the value is one of Kinds.
	Interruption Subject = "Interruption"
	// Drain that is over; the value is one of Outcomes.
	Drain Subject = "Drain"
	// Pod that was told to leave; the value is one of Paths.
	Pod Subject = "Pod"
	// Advice that a node is under, which is no interruption; the value is one of Kinds.
	Advice Subject = "Advice"
	// AdvicePod was told to leave on one; the value is one of AdvicePaths.
	AdvicePod Subject = "AdvicePod"
	// ShortenedGrace of a pod, which counts as Pod as well; it has no value.
	ShortenedGrace Subject = "ShortenedGrace"
)

// Fact is one thing that has become certain, to be counted.
type Fact struct {
	Subject Subject
	Value   string
	// Count is how often; more than once only where an Event itself was counted.
	Count int
	// Node and Notice say whose it is, for a log; a pod's Events name its node only.
	Node, Notice string
}

// Unknown is the kind of an interruption that no node was seen to carry, or that
// carries one of a later version.
const Unknown = "Unknown"

// kinds are those of the agent's notices, but for drills.
var kinds = []string{
	"SpotInterruption", "RebalanceAdvice", "Maintenance", "ScaleIn", "NodeShutdown", "ClusterDisruption", Unknown,
}

// drill is the kind of what is none.
const drill = "Drill"

// How drains end. The first two are the agent's own words, in ebbtide_drains_total.
const (
	Drained    = "Drained"
	Incomplete = "Incomplete"
	// Unreported is the end of a drain of which no word has come.
	Unreported = "Unreported"
)

var outcomes = []string{Drained, Incomplete, Unreported}

// The paths of pods, as the agent calls them in ebbtide_pods_total, as far as Events
// tell them apart.
const (
	// Evicted is within the pod's disruption budget, with all of its grace or, where
	// agents say Clamped, with less.
	Evicted    = "Evicted"
	HandedOver = "HandedOver"
	Forced     = "Forced"
)

var paths = []string{Evicted, HandedOver, Forced}

// advicePaths are without Forced: nothing is, on an advice.
var advicePaths = []string{Evicted, HandedOver}

// reporter is what the agent's Events are reported by.
const reporter = "ebbtide.dev/agent"

// The reasons of the agent's Events about nodes.
const (
	interruptionNoticed = "InterruptionNoticed"
	nodeDrained         = "NodeDrained"
	drainIncomplete     = "DrainIncomplete"
)

// drainOutcomes are by the reason of the Event that tells of them.
var drainOutcomes = map[string]string{nodeDrained: Drained, drainIncomplete: Incomplete}

// podFacts are by the reason of the Event about a pod that tells of them.
var podFacts = map[string]Fact{
	"EvictedForInterruption": {Subject: Pod, Value: Evicted},
	"HandedOver":             {Subject: Pod, Value: HandedOver},
	"ForcedPastBudget":       {Subject: Pod, Value: Forced},
	"GraceShortened":         {Subject: ShortenedGrace},
	"EvictedOnAdvice":        {Subject: AdvicePod, Value: Evicted},
	"HandedOverOnAdvice":     {Subject: AdvicePod, Value: HandedOver},
}
