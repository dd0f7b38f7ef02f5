"""The codes of guard refusals: an SQLSTATE on PostgreSQL, the beginning of the message on SQLite."""

STEP_REFUSED = "OC001"
CHANGE_REFUSED = "OC002"
STOPPED = "OC003"
ISOLATION_REFUSED = "OC004"
LATCH_UNREADABLE = "OC005"
RECORD_DISAGREES = "OC006"
SCOPE_REFUSED = "OC007"
EXPIRED = "OC008"
NOT_RETRYABLE = "OC009"
UNREADABLE = "OC010"
EVENT_MISSING = "OC011"
CHECK_BROKEN = "OC012"
NOT_APPROVED = "OC013"
APPROVAL_REFUSED = "OC014"
OWN_APPROVAL = "OC015"
POLICY_REFUSED = "OC016"

MESSAGES = {
    STEP_REFUSED: "this step is not in the table of steps",
    CHANGE_REFUSED: "what was recorded never changes and never disappears",
    STOPPED: "the kill switch bars this",
    ISOLATION_REFUSED: "actions are started under READ COMMITTED only",
    LATCH_UNREADABLE: "the latch cannot be read, so nothing is proposed or started",
    RECORD_DISAGREES: "the record does not allow this",
    EXPIRED: "its time to start is over",
    NOT_RETRYABLE: "only what is finished can be tried again",
    UNREADABLE: "this could not be read back, so it is neither stored nor started",
    CHECK_BROKEN: "a CHECK of the table does not hold for this row",
    EVENT_MISSING: "the history does not take this step: something swallows its events",
    NOT_APPROVED: "it lacks approvals that its policy asks for, or was rejected",
    APPROVAL_REFUSED: "this decision comes too late, or contradicts what is stored",
    OWN_APPROVAL: "no rule of the policy counts an approval by the proposer",
    POLICY_REFUSED: "a policy is for everything or action_name=NAME, its rules within their limits",
    SCOPE_REFUSED: "a scope is everything, action_type=, action_name=, proposed_by= or ticket_id= with a value",
}
