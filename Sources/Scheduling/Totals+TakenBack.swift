extension Totals {
    /// Leases whose work was taken back before it was finished, at least: those that expired or were revoked, or those whose blocks were
    /// given out again under a second fence because their worker's connection broke. The same lease may be in both counts, so the larger stands.
    package var leasesTakenBack: Int { max(leasesExpired + leasesRevoked, secondFences) }
}
