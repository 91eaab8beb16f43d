package admission

// FieldManager owns what a [Keeper] writes: the policy, the binding, and the condition
// Rendered of each PlacementPolicy.
const FieldManager = "ebbtide-admission-policy"

const prefix = "ebbtide.dev/"

const (
	// TrialLabel marks the objects of a trial: the policy, the binding and the sample
	// pods. The value is the trial's own. A policy in force leaves out the pods that have
	// it, so that a trial sees its own work only.
	TrialLabel = prefix + "placement-trial"
	// triedLabel is put on a sample pod by the policy on trial.
	triedLabel = prefix + "placement-tried"

	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "ebbtide-placement"
)

// trialSuffix makes the name of a trial's objects of the policy's. It is always the
// same, so that RBAC may name them, and the next leader finds what a crash has left.
const trialSuffix = "-trial"

// outside is the value of [TrialLabel] on the pods that a trial is compared with: no
// policy of ours, in force or on trial, acts on them.
const outside = "outside"
