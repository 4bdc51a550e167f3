// From the log-probs of targets to the loss and its slope: log-probs of responses, and RPO's and DPO's terms of pairs.

// sums [responses]: response i has the log-probs at first[i] to first[i + 1]. A block per response.
extern "C" __global__ void response_sums(float* sums, const float* logps, const int* first) {
    DYNAMIC_SHARED(float, scratch);
    float sum = 0.0f;
    for (int i = first[blockIdx.x] + threadIdx.x; i < first[blockIdx.x + 1]; i += blockDim.x) sum += logps[i];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// Of each pair, -log s(x) with x = beta D - per_gap g, where s(x) = 1 / (1 + exp(-x)), D is the log-ratio of policy to
// reference of the chosen response minus that of the rejected one, and g the pair's gap. Log-probs and coefficients
// [2 pairs] are those of the chosen and the rejected response in turn; terms and gaps [pairs]. The coefficients are the
// slopes of the mean of an update's `total` terms, -+ beta s(-x) / total. sum [1] is that of these pairs. One block.
extern "C" __global__ void margin_terms(float* terms, float* coefficients, float* sum, const float* policy,
                                        const float* reference, const float* gaps, int pairs, int total, float beta,
                                        float per_gap) {
    DYNAMIC_SHARED(float, scratch);
    float losses = 0.0f;
    for (int pair = threadIdx.x; pair < pairs; pair += blockDim.x) {
        const int chosen = 2 * pair, rejected = chosen + 1;
        const float ratio = policy[chosen] - reference[chosen], other = policy[rejected] - reference[rejected];
        const float x = beta * (ratio - other) - per_gap * gaps[pair];
        // At most 1: neither the logarithm nor the quotient overflows.
        const float small = expf(-fabsf(x));
        const float term = fmaxf(-x, 0.0f) + log1pf(small);
        const float slope = beta * (x < 0.0f ? 1.0f : small) / (1.0f + small) / total;
        terms[pair] = term;
        coefficients[chosen] = -slope;
        coefficients[rejected] = slope;
        losses += term;
    }
    losses = block_sum(losses, scratch);
    if (threadIdx.x == 0) *sum = losses;
}
